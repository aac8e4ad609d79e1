package workers_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/workers"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	ann   = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	quiet = slog.New(slog.DiscardHandler)
)

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// background runs a part of the process until the test ends or the returned function is called; that returns when the
// part has ended.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

// newLog returns a log that workers can subscribe to.
func newLog(t *testing.T) *logtest.Log {
	t.Helper()
	l := logtest.New(t, subscription.Migrations())
	return l
}

// newRouter returns a router on a node of the log.
func newRouter(l *logtest.Log) *workers.Router {
	return workers.New(subscription.New(l.Pool, l.Store, l.Tail, quiet), quiet)
}

// startRouter runs the workers that add adds.
func startRouter(t *testing.T, l *logtest.Log, add func(*workers.Router)) (stop func()) {
	t.Helper()
	r := newRouter(l)
	add(r)
	if err := r.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return background(t, r.Run)
}

// The events that the tests' workers choose.
var (
	created = eventstore.Filter{Types: []string{"document.created"}}
	users   = eventstore.Filter{Categories: []string{"user"}}
)

// write carries out commands, or fails the test.
func write(t *testing.T, l *logtest.Log, steps ...commands.Step) {
	t.Helper()
	if _, err := commands.NewHandler(l.Store).Handle(t.Context(), steps...); err != nil {
		t.Fatal(err)
	}
}

func createDocument(id uuid.UUID) commands.Step {
	return commands.Document.On(id, commands.CreateDocument{By: ann, Title: "Plan", ContentType: "text/markdown"})
}

// register makes a user as signing up does.
func register(t *testing.T, l *logtest.Log, email string) (id uuid.UUID) {
	t.Helper()
	id = newID()
	write(t, l,
		commands.User.On(id, commands.RegisterUser{ID: id, Email: email, Name: "Ann", PasswordHash: "hash"}),
		commands.Email.On(newID(), commands.ReserveEmail{User: id}),
	)
	return id
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), sql, args...); err != nil {
		t.Error(err)
	}
}

func mustLoad(t *testing.T, l *logtest.Log, stream eventstore.Stream) []*eventstore.Recorded {
	t.Helper()
	recorded, err := l.Store.Load(t.Context(), stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	return recorded
}
