package eventstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// TestAStreamFoundMissingStaysMissingUntilTheAppendEnds races two appends that each create a stream on the condition
// that the other's is not there. One after the other, only one could succeed.
func TestAStreamFoundMissingStaysMissingUntilTheAppendEnds(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := context.Background()
	a, b := newStream(), newStream()
	creates := func(mine, others eventstore.Stream) []eventstore.Write {
		return []eventstore.Write{
			{Stream: mine, Expect: eventstore.NoStream, Events: []events.Event{created("x")}},
			{Stream: others, Expect: eventstore.NoStream},
		}
	}
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := l.Store.AppendTx(ctx, tx, creates(a, b)...); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		_, err := l.Store.Append(ctx, creates(b, a)...)
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("the second append did not wait for the first: %v", err)
	case <-waiting(t, l):
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	var lost *eventstore.ErrVersion
	if err := <-second; !errors.As(err, &lost) || lost.Stream != a || lost.Actual != 1 {
		t.Errorf("the second append: got %v, want that %s is there", err, a)
	}
	var rows int
	if err := l.Pool.QueryRow(ctx, `SELECT count(*) FROM atlas.streams`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d stream rows (%v), want 1: a stream that was only looked for is not made", rows, err)
	}
}

// waiting is closed when some connection of the database waits for a lock.
func waiting(t *testing.T, l *logtest.Log) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		awaitWaiting(t, l)
		close(done)
	}()
	return done
}

func TestAnOutcomeTellsOfStreamsInTheOrderOfTheWrites(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	checked, absent := newStream(), newStream()
	at := mustAppend(t, l, eventstore.Write{Stream: checked, Expect: eventstore.NoStream, Events: []events.Event{created("x")}}).Position()
	writes := []eventstore.Write{
		{Stream: checked, Expect: 1},
		{Stream: absent, Expect: eventstore.NoStream},
	}
	want := []eventstore.StreamOutcome{{Stream: checked, Version: 1, Position: at}, {Stream: absent}}
	for n := range int64(12) {
		s := newStream()
		writes = append(writes, eventstore.Write{Stream: s, Expect: eventstore.NoStream, Events: []events.Event{created("x"), events.DocumentArchived{}}})
		want = append(want, eventstore.StreamOutcome{Stream: s, Version: 2, Position: at + 2*n + 2, Events: 2})
	}
	for i, j := 2, len(want)-1; i < j; i, j = i+1, j-1 { // so that the order given is not the order of names
		writes[i], writes[j] = writes[j], writes[i]
		want[i].Stream, want[j].Stream = want[j].Stream, want[i].Stream
	}
	if diff := cmp.Diff(want, mustAppend(t, l, writes...).Streams); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}
