package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// begun is an append that is neither committed nor rolled back.
func begun(t *testing.T, l *logtest.Log, stream eventstore.Stream) (position int64, end func(commit bool)) {
	t.Helper()
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	o, err := l.Store.AppendTx(t.Context(), tx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
	if err != nil {
		t.Fatal(err)
	}
	return o.Position(), func(commit bool) {
		t.Helper()
		if !commit {
			err = tx.Rollback(t.Context())
		} else if err = tx.Commit(t.Context()); err == nil {
			l.Store.Announce()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// burn appends and rolls back, and returns the position that will never hold an event.
func burn(t *testing.T, l *logtest.Log) int64 {
	t.Helper()
	position, end := begun(t, l, newStream())
	end(false)
	return position
}

func TestAWaitForWhatWasRolledBackIsOverWithTheLastEvent(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	empty := burn(t, l)
	w, _ := start(t, l, each)
	await(t, w, empty, each) // in a log without events
	at := mustAppend(t, l.Store, newStream(), created("x"))
	for range 3 {
		await(t, w, burn(t, l), each)
		if got := statusOf(t, l.Pool, each).Position; got != at {
			t.Fatalf("the projection is at %d, the last event at %d", got, at)
		}
	}
	if err := w.Wait(t.Context(), burn(t, l)+1, each.ID()); !errors.Is(err, eventstore.ErrFuture) {
		t.Errorf("one beyond: got %v, want ErrFuture", err)
	}
	requireNobodyWaits(t, w)
}

// What is rolled back comes after an append that is still open, which may yet be committed.
func TestAWaitForWhatWasRolledBackIsNotOverBeforeWhatMayComeBelowIt(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	var c tracer
	w := tracedWaiter(t, l, &c)
	start(t, l, each)
	for _, commit := range []bool{true, false} {
		stream := newStream()
		open, end := begun(t, l, stream)
		burned := burn(t, l)
		answer := make(chan error, 1)
		go func() { answer <- w.Wait(context.Background(), burned, each.ID()) }()
		before := c.others.Load()
		watchtest.Eventually(t, time.Minute, "it has looked", func() bool { return c.others.Load() > before+6 || len(answer) > 0 })
		select {
		case err := <-answer:
			t.Fatalf("the wait for %d ended with %v while %d was open", burned, err, open)
		default:
		}
		end(commit)
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		want := []int64(nil)
		if commit {
			want = []int64{open}
		}
		if got := rowsOf(t, l.Pool, each)[stream.ID]; len(got) != len(want) {
			t.Errorf("after the wait for %d the row has %v, want %v", burned, got, want)
		}
	}
}

// Nobody folds, and what is waited for lies behind an event.
func TestAWaitForWhatWasRolledBackIsNotOverBeforeTheEventsBelowAreFolded(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	burned := burn(t, l)
	w := engine.NewWaiter(l.Pool, quiet)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx, burned, each.ID()); !errors.Is(err, engine.ErrLagging) {
		t.Errorf("got %v, want ErrLagging", err)
	}
	start(t, l, each)
	await(t, w, burned, each)
	if got := countTraced(t, l, each); got != 1 {
		t.Errorf("%d events were folded, want that of position %d", got, at)
	}
}

// While tables are rebuilt and swapped back and forth, who has waited for a position reads what was written there.
func TestOwnWritesAreReadThroughoutRebuildsAndRollbacks(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	node := l.Node(t)
	start(t, node, each)
	done := make(chan struct{})
	go func() {
		defer close(done)
		shop := workshop(node.Store, node.Pool, each)
		for n := range 12 {
			kind := []engine.Kind{engine.KindRebuild, engine.KindRollback}[n%2]
			if _, err := shop.Do(context.Background(), kind, each.ID(), engine.Options{}, nil); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}()
	w := engine.NewWaiter(l.Pool, quiet)
	stream, want := newStream(), map[uuid.UUID][]int64{}
	for working := true; working; {
		select {
		case <-done:
			working = false
		default:
		}
		want[stream.ID] = append(want[stream.ID], mustAppend(t, l.Store, stream, events.DocumentArchived{}))
		await(t, w, want[stream.ID][len(want[stream.ID])-1], each)
		requireTraced(t, l.Pool, each, want)
	}
}
