package eventstore_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// never is a time between polls in which no test ends.
const never = 24 * time.Hour

// observer is a node that only reads, under a name of its own, and counts its statements.
type observer struct {
	store *eventstore.Store
	tail  *eventstore.Tail

	horizons, reads atomic.Int64
}

func (o *observer) count(sql string) {
	switch {
	case strings.Contains(sql, "atlas.horizon()"):
		o.horizons.Add(1)
	case strings.Contains(sql, "FROM atlas.events\n"):
		o.reads.Add(1)
	}
}

func (o *observer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	o.count(q.SQL)
	return ctx
}

func (o *observer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (o *observer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (o *observer) TraceBatchQuery(_ context.Context, _ *pgx.Conn, q pgx.TraceBatchQueryData) {
	o.count(q.SQL)
}
func (o *observer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// observe returns a node whose tail polls so often, and which hears of others only if it is told to listen.
func observe(t *testing.T, l *logtest.Log, name string, poll time.Duration, listens bool) *observer {
	t.Helper()
	o := &observer{}
	pool, err := postgres.Connect(t.Context(), l.URL, postgres.Tracer(o), func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["application_name"] = name
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	o.store = eventstore.New(pool, logtest.Vocabulary(t), l.Keys)
	waker := eventstore.NewWaker(o.store, log)
	o.tail = eventstore.NewTail(o.store, waker, log)
	o.tail.PollEvery(poll)
	parts := []func(context.Context) error{o.tail.Run}
	if listens {
		parts = append(parts, waker.Run)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(parts))
	for _, run := range parts {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range parts {
			<-done
		}
		pool.Close()
	})
	return o
}

// append1 appends one event on the log's own node and returns its position.
func append1(t *testing.T, l *logtest.Log) int64 {
	t.Helper()
	return mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}).Position()
}

func TestAnAppendWakesTheTailOfAnotherNodeThatNeverPolls(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	reader := observe(t, l, "listener", never, true).tail.From(0, eventstore.Filter{})
	for range 20 {
		at := append1(t, l)
		if got := follow(t, reader, 1); got[0].Position != at {
			t.Fatalf("got position %d, want %d", got[0].Position, at)
		}
	}
}

// TestAStormOfAppendsNotifiesOtherNodesOnceInTwoMilliseconds announces whenever another node was told of the last.
func TestAStormOfAppendsNotifiesOtherNodesOnceInTwoMilliseconds(t *testing.T) {
	t.Parallel()
	const told, burst, gap = 200, 10, 2 * time.Millisecond
	l := logtest.New(t)
	node, err := pgx.Connect(t.Context(), l.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(context.Background())
	if _, err := node.Exec(t.Context(), "LISTEN atlas_log"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range told {
		l.Store.Announce()
		if _, err := node.WaitForNotification(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took, least := time.Since(began), (told-burst)*gap; took < least {
		t.Errorf("%d notifications came within %s, want no more than one in %s after the first %d", told, took, gap, burst)
	}
}

func TestPollingFindsWhatNobodyAnnounced(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	reader := observe(t, l, "deaf", 5*time.Millisecond, false).tail.From(0, eventstore.Filter{})
	for range 3 {
		at := append1(t, l)
		if got := follow(t, reader, 1); got[0].Position != at {
			t.Fatalf("got position %d, want %d", got[0].Position, at)
		}
	}
}

// TestAListenerThatWasCutOffIsToldWhatItMissed ends the session that listens, again and again, while events are appended.
func TestAListenerThatWasCutOffIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	const cut = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'cut off' AND query LIKE 'LISTEN%'`
	l := logtest.New(t)
	reader := observe(t, l, "cut off", never, true).tail.From(0, eventstore.Filter{})
	for range 3 {
		exec1(t, l, cut)
		at := append1(t, l)
		if got := follow(t, reader, 1); got[0].Position != at {
			t.Fatalf("got position %d, want %d", got[0].Position, at)
		}
	}
}

// TestFiftyConsumersCostWhatOneDoes counts what a node holds and asks of the database, event by event, with one consumer of
// its tail and with fifty.
func TestFiftyConsumersCostWhatOneDoes(t *testing.T) {
	t.Parallel()
	const appends = 20
	l := logtest.New(t)
	type cost struct{ connections, horizons, reads int64 }
	of := func(name string, consumers int) (c cost) {
		o := observe(t, l, name, never, true)
		at := append1(t, l)
		awaitEvent(t, o.tail.From(at-1, eventstore.Filter{}), at) // the tail is there
		if _, err := o.store.Horizon(t.Context()); err != nil {   // and so is a connection for those who read for themselves
			t.Fatal(err)
		}
		readers := make([]*eventstore.Reader, consumers)
		for i := range readers {
			readers[i] = o.tail.From(at, eventstore.Filter{Types: []string{"document.created"}})
		}
		o.horizons.Store(0)
		o.reads.Store(0)
		for range appends {
			at := append1(t, l)
			for _, r := range readers {
				awaitEvent(t, r, at)
			}
		}
		const q = `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`
		if err := l.Pool.QueryRow(t.Context(), q, name).Scan(&c.connections); err != nil {
			t.Fatal(err)
		}
		c.horizons, c.reads = o.horizons.Load(), o.reads.Load()
		return c
	}
	one, fifty := of("one consumer", 1), of("fifty consumers", 50)
	for _, c := range []cost{one, fifty} {
		// The tail may find an event just before it is told of it, and then looks once more, or once less for the next.
		if c.connections != one.connections || c.horizons < appends-2 || c.horizons > appends+2 || c.reads < appends-2 || c.reads > appends+2 {
			t.Errorf("one consumer costs %+v, fifty cost %+v; want as many connections, and a horizon and a page for each of %d events", one, fifty, appends)
		}
	}
}

// awaitEvent reads until the event at a position has come.
func awaitEvent(t *testing.T, r *eventstore.Reader, position int64) {
	t.Helper()
	for {
		if got := follow(t, r, 1); got[len(got)-1].Position >= position {
			return
		}
	}
}
