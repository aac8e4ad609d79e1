package eventstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// follow reads until the reader has seen n events, and returns them.
func follow(t *testing.T, r *eventstore.Reader, n int) (got []*eventstore.Recorded) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(got) < n {
		b, err := r.Next(ctx, 100)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(got), n, err)
		}
		got = append(got, b.Events...)
	}
	return got
}

func TestATailSeesWhatAnotherNodeAppends(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	reader := l.Node(t).Tail.From(0, eventstore.Filter{})
	stream := newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("Plan")}})
	if got := follow(t, reader, 1); got[0].Stream != stream {
		t.Errorf("got %v, want %v", got[0].Stream, stream)
	}
}

func TestAReaderGetsOnlyWhatItsFilterChooses(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("old")}})
	filters := map[string]eventstore.Filter{
		"type":     {Types: []string{"document.archived"}},
		"category": {Categories: []string{"session"}},
		"stream":   {},
	}
	wants := map[string]string{"type": "document.archived", "category": "session.started", "stream": "session.started"}
	for _, start := range []string{"behind", "caught up"} {
		readers := map[string]*eventstore.Reader{}
		session := eventstore.NewStream("session", newStream().ID)
		filters["stream"] = eventstore.Filter{Streams: []eventstore.Stream{session, newStream()}}
		for name, f := range filters {
			after := int64(0)
			if start == "caught up" {
				after = horizon(t, l)
			}
			readers[name] = l.Tail.From(after, f)
		}
		mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x"), events.DocumentArchived{}}})
		mustAppend(t, l, eventstore.Write{Stream: session, Expect: eventstore.NoStream, Events: []events.Event{events.SessionStarted{UserID: ann}}})
		for name, r := range readers {
			if got := follow(t, r, 1); got[0].Type != wants[name] {
				t.Errorf("%s, by %s: got %s, want %s", start, name, got[0].Type, wants[name])
			}
		}
	}
}

// TestConcurrentWritersReachEveryReaderOnceInOrder races 8 writers, a third of whose transactions roll back, against
// readers that start at different times on two nodes.
func TestConcurrentWritersReachEveryReaderOnceInOrder(t *testing.T) {
	t.Parallel()
	const writers, appends = 8, 60
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	streams := []eventstore.Stream{newStream(), newStream(), newStream(), newStream(), newStream()}
	var mu sync.Mutex
	committed := map[int64]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range appends {
				if p := maybeAppend(t, nodes[w%2], streams[rand.IntN(len(streams))]); p > 0 {
					mu.Lock()
					committed[p] = true
					mu.Unlock()
				}
			}
		})
	}
	live := nodes[1].Tail.From(0, eventstore.Filter{})
	seen := make(chan []*eventstore.Recorded, 1)
	stop, cancel := context.WithCancel(context.Background())
	go func() { seen <- followUntil(stop, live) }()
	wg.Wait()
	last, err := l.Store.Last(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	requireOnceInOrder(t, "a late reader", committed, follow(t, l.Tail.From(0, eventstore.Filter{}), len(committed)))
	awaitUpto(t, nodes[1], last)
	cancel()
	requireOnceInOrder(t, "a live reader", committed, <-seen)
}

// maybeAppend appends one event and returns its position, or rolls back and returns 0.
func maybeAppend(t *testing.T, l *logtest.Log, stream eventstore.Stream) int64 {
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer tx.Rollback(ctx)
	o, err := l.Store.AppendTx(ctx, tx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
	if err != nil {
		t.Error(err)
		return 0
	}
	if rand.IntN(3) == 0 {
		return 0
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
		return 0
	}
	l.Store.Announce()
	return o.Position()
}

func followUntil(ctx context.Context, r *eventstore.Reader) (got []*eventstore.Recorded) {
	for {
		b, err := r.Next(ctx, 7)
		if err != nil {
			return got
		}
		got = append(got, b.Events...)
	}
}

// awaitUpto waits until a reader of the node's tail has come to a position.
func awaitUpto(t *testing.T, l *logtest.Log, position int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := l.Tail.From(0, eventstore.Filter{Types: []string{"user.disabled"}})
	for {
		b, err := r.Next(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		if b.Upto >= position {
			return
		}
	}
}

func requireOnceInOrder(t *testing.T, who string, committed map[int64]bool, got []*eventstore.Recorded) {
	t.Helper()
	versions := map[eventstore.Stream]int64{}
	last := int64(0)
	for _, r := range got {
		if r.Position <= last {
			t.Fatalf("%s: position %d came after %d", who, r.Position, last)
		}
		if r.Version != versions[r.Stream]+1 {
			t.Fatalf("%s: version %d of a stream came after %d", who, r.Version, versions[r.Stream])
		}
		if !committed[r.Position] {
			t.Errorf("%s: position %d was never committed", who, r.Position)
		}
		last, versions[r.Stream] = r.Position, r.Version
	}
	if len(got) != len(committed) {
		t.Errorf("%s saw %d events, %d were committed", who, len(got), len(committed))
	}
}

func TestALostServerFinishesEveryReaderAndTheTailGoesOn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	awaitUpto(t, l, mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}).Position())
	reader := l.Tail.From(horizon(t, l), eventstore.Filter{})
	const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	if _, err := l.Pool.Exec(ctx, kill); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(ctx, 1); !errors.Is(err, eventstore.ErrTailReset) {
		t.Fatalf("got %v, want ErrTailReset", err)
	}
	at := mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("y")}}).Position()
	if got := follow(t, l.Tail.From(at-1, eventstore.Filter{}), 1); got[0].Position != at {
		t.Errorf("after the reset the tail gave %d, want %d", got[0].Position, at)
	}
}
