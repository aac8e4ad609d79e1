package outbox

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(victimVariable); url != "" {
		runVictim(url)
	}
	pgtest.Main(m)
}

var ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")

func newStream(category string) eventstore.Stream {
	return eventstore.NewStream(category, uuid.Must(uuid.NewV7()))
}

// newLog returns a log whose outbox is prepared.
func newLog(t *testing.T, p engine.Projection) *logtest.Log {
	t.Helper()
	l := logtest.New(t, engine.Migrations(), Migrations())
	prepare(t, l.Pool, p)
	return l
}

func prepare(t *testing.T, pool *pgxpool.Pool, p engine.Projection) {
	t.Helper()
	if err := engine.Prepare(t.Context(), pool, []engine.Projection{p}); err != nil {
		t.Fatal(err)
	}
}

// start runs a projection on a node until the test ends, and returns what waits for it.
func start(t *testing.T, node *logtest.Log, p engine.Projection) *engine.Waiter {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	waiter := engine.NewWaiter(node.Pool, log)
	runner, err := engine.NewRunner(node.Store, node.Tail, node.Pool, log, waiter, []engine.Projection{p})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return waiter
}

func wait(t *testing.T, w *engine.Waiter, position int64, p engine.Projection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.Wait(ctx, position, p.ID()); err != nil {
		t.Fatal(err)
	}
}

// mustAppend appends events to a new stream, or to the end of one, and returns the last one's position.
func mustAppend(t *testing.T, store *eventstore.Store, stream eventstore.Stream, facts ...events.Event) int64 {
	t.Helper()
	o, err := store.Append(t.Context(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: facts})
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

// row is a message as it lies in its table.
type row struct {
	Offset   int64
	UUID     string
	Payload  json.RawMessage
	Metadata map[string]string
}

func messages(t *testing.T, pool *pgxpool.Pool, topic string) []row {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT "offset", uuid, payload, metadata FROM outbox.`+topic+` ORDER BY "offset"`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// recorded returns the whole log, as far as it is final.
func recorded(t *testing.T, store *eventstore.Store, f eventstore.Filter) (all []*eventstore.Recorded) {
	t.Helper()
	horizon, err := store.Horizon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < horizon; {
		b, err := store.ReadAll(t.Context(), at, horizon, f, 1000)
		if err != nil {
			t.Fatal(err)
		}
		all, at = append(all, b.Events...), b.Upto
	}
	return all
}

// wantEachOnceInOrder holds a topic against the log: one message per event of the category, in the log's order.
func wantEachOnceInOrder(t *testing.T, l *logtest.Log, category, topic string) {
	t.Helper()
	want := recorded(t, l.Store, eventstore.Filter{Categories: []string{category}})
	got := messages(t, l.Pool, topic)
	if len(got) != len(want) {
		t.Errorf("topic %s holds %d messages for %d events", topic, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if event := got[i].Metadata[MetaEvent]; event != want[i].ID.String() {
			t.Fatalf("topic %s: message %d is of event %s, want %s at position %d", topic, i, event, want[i].ID, want[i].Position)
		}
	}
}

var documentsOnly = eventstore.Filter{Categories: []string{"document"}}

// drain acks n messages and returns the ids of their events.
func drain(t *testing.T, from <-chan *message.Message, n int) (events []string) {
	t.Helper()
	for range n {
		m := next(t, from)
		events = append(events, m.Metadata.Get(MetaEvent))
		m.Ack()
	}
	return events
}

// background runs a part of a node until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
