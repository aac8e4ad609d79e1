package eventstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// bare is a log of one connection, and a second pool on its database.
type bare struct {
	store *Store
	aside *pgxpool.Pool
}

func newBare(t *testing.T) bare {
	t.Helper()
	url := pgtest.NewDatabase(t, Migrations())
	pool := func(n int32) *pgxpool.Pool {
		p, err := postgres.Connect(context.Background(), url, postgres.MaxConns(n))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	v, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		t.Fatal(err)
	}
	return bare{store: New(pool(1), v, nil), aside: pool(4)} // nothing here is sealed
}

// end is an append to a session, not yet sent.
func (b bare) end(t *testing.T, stream Stream) *statement {
	t.Helper()
	write := Write{Stream: stream, Expect: AnyVersion, Events: []events.Event{events.SessionEnded{UserID: uuid.New(), Reason: "logout"}}}
	st, err := b.store.prepare(context.Background(), CommandFrom(context.Background()), []Write{write})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// lock holds a stream's row from another connection until the test ends.
func (b bare) lock(t *testing.T, stream Stream) {
	t.Helper()
	ctx := context.Background()
	tx, err := b.aside.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(ctx) })
	if _, err := b.end(t, stream).run(ctx, tx, true); err != nil {
		t.Fatal(err)
	}
}

func TestAnAppendThatNeverGotAConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	busy, err := b.store.pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Release()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.store.execute(ctx, b.end(t, NewStream("session", newID())), true); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrUnavailable: nothing was sent", err)
	}
}

// expiring is a context whose time is up when its test says so.
type expiring struct {
	context.Context
	over chan struct{}
}

func newExpiring() expiring { return expiring{context.Background(), make(chan struct{})} }

func (e expiring) Done() <-chan struct{} { return e.over }

func (e expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// start makes an append that waits for a lock, and returns the session that waits, and what becomes of the append.
func (b bare) start(t *testing.T, ctx context.Context, stream Stream) (pid int, outcome <-chan error) {
	t.Helper()
	st, done := b.end(t, stream), make(chan error, 1)
	go func() {
		_, err := b.store.execute(ctx, st, true)
		done <- err
	}()
	const waiting = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	watchtest.Eventually(t, 30*time.Second, "the append waits", func() bool {
		found, err := queryMaybe(context.Background(), b.aside, waiting, nil, &pid)
		if err != nil {
			t.Fatal(err)
		}
		return found
	})
	return pid, done
}

func TestAnAppendThatRunsOutOfTimeHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	stream := NewStream("session", newID())
	b.lock(t, stream)
	ctx := newExpiring()
	_, outcome := b.start(t, ctx, stream)
	close(ctx.over)
	if err := <-outcome; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrOutcomeUnknown", err)
	}
}

// TestAnAppendThatWasLostStaysUnknownThoughItGetsNoSecondConnection ends the session of an append under way, and takes
// the only connection before it can ask what became of it.
func TestAnAppendThatWasLostStaysUnknownThoughItGetsNoSecondConnection(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	background := context.Background()
	stream := NewStream("session", newID())
	b.lock(t, stream)
	ctx := newExpiring()
	pid, outcome := b.start(t, ctx, stream)
	taken := make(chan *pgxpool.Conn, 1)
	go func() {
		conn, err := b.store.pool.Acquire(background)
		if err != nil {
			t.Error(err)
		}
		taken <- conn
	}()
	if _, err := b.aside.Exec(background, `SELECT pg_terminate_backend($1)`, pid); err != nil {
		t.Fatal(err)
	}
	if conn := <-taken; conn != nil {
		defer conn.Release()
	}
	close(ctx.over)
	if err := <-outcome; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrOutcomeUnknown", err)
	}
}
