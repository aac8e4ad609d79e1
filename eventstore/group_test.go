package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// together runs many appends at once, so that most of them share transactions.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	wg.Wait()
}

func TestAppendsThatGoTogetherAreWhatTheyWouldBeAlone(t *testing.T) {
	t.Parallel()
	const n = 400
	l := logtest.New(t)
	streams := make([]eventstore.Stream, n)
	outcomes := make([]eventstore.Outcome, n)
	for i := range streams {
		streams[i] = newStream()
	}
	together(n, func(i int) {
		o, err := l.Store.Append(context.Background(), eventstore.Write{Stream: streams[i], Expect: eventstore.NoStream,
			Events: []events.Event{created(fmt.Sprint(i)), events.DocumentArchived{}}})
		if err != nil {
			t.Error(err)
		}
		outcomes[i] = o
	})
	for i, s := range streams {
		got := mustLoad(t, l, s)
		if len(got) != 2 {
			t.Fatalf("stream %d has %d events, want 2", i, len(got))
		}
		if diff := cmp.Diff(created(fmt.Sprint(i)), mustEvent(t, got[0])); diff != "" {
			t.Errorf("stream %d holds another's event (-want +got):\n%s", i, diff)
		}
		want := []eventstore.StreamOutcome{{Stream: s, Version: 2, Position: got[1].Position, Events: 2}}
		if diff := cmp.Diff(want, outcomes[i].Streams); diff != "" {
			t.Errorf("outcome %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestABadMemberSpoilsNothingForItsNeighbours(t *testing.T) {
	t.Parallel()
	const n = 300
	l := logtest.New(t)
	taken := newStream()
	mustAppend(t, l, eventstore.Write{Stream: taken, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	together(n, func(i int) {
		write := eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}
		if i%3 == 1 {
			write.Expect = 7 // of a stream that does not exist
		}
		if i%3 == 2 {
			write.Stream = taken // which is not new
		}
		_, err := l.Store.Append(context.Background(), write)
		var lost *eventstore.ErrVersion
		switch {
		case i%3 == 0 && err != nil:
			t.Errorf("a good append failed beside bad ones: %v", err)
		case i%3 == 1 && (!errors.As(err, &lost) || lost.Actual != 0 || lost.Stream != write.Stream):
			t.Errorf("an append at version 7 of no stream: got %v", err)
		case i%3 == 2 && (!errors.As(err, &lost) || lost.Actual != 1 || lost.Stream != taken):
			t.Errorf("an append to a stream that must not exist and does: got %v", err)
		}
	})
	if got := mustLoad(t, l, taken); len(got) != 1 {
		t.Errorf("the taken stream has %d events, want 1", len(got))
	}
}

func TestOneStreamsAppendsKeepTheirOrderAndNoneIsLost(t *testing.T) {
	t.Parallel()
	const n = 300
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	stream := newStream()
	versions := make([]int64, n)
	together(n, func(i int) {
		o, err := nodes[i%2].Store.Append(context.Background(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion,
			Events: []events.Event{created(fmt.Sprint(i))}})
		if err != nil {
			t.Error(err)
			return
		}
		versions[i] = o.Streams[0].Version
	})
	got := mustLoad(t, l, stream)
	if len(got) != n {
		t.Fatalf("%d events, want %d", len(got), n)
	}
	for i, v := range versions {
		if e := mustEvent(t, got[v-1]).(events.DocumentCreated); e.Title != fmt.Sprint(i) {
			t.Errorf("append %d was told version %d, which holds %s's event", i, v, e.Title)
		}
	}
	last := int64(0)
	for i, r := range got {
		if r.Position <= last || r.Version != int64(i+1) {
			t.Fatalf("version %d lies at %d after %d", r.Version, r.Position, last)
		}
		last = r.Position
	}
}

func TestARaceForOneVersionHasOneWinner(t *testing.T) {
	t.Parallel()
	const n = 64
	l := logtest.New(t)
	stream := newStream()
	mustAppend(t, l, eventstore.Write{Stream: stream, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	won := make([]bool, n)
	together(n, func(i int) {
		_, err := l.Store.Append(context.Background(), eventstore.Write{Stream: stream, Expect: 1, Events: []events.Event{events.DocumentArchived{}}})
		var lost *eventstore.ErrVersion
		if won[i] = err == nil; !won[i] && (!errors.As(err, &lost) || lost.Actual != 2) {
			t.Errorf("a loser got %v", err)
		}
	})
	if winners := len(slices.DeleteFunc(won, func(w bool) bool { return !w })); winners != 1 {
		t.Errorf("%d winners, want 1", winners)
	}
}

func TestCommandsThatGoTogetherAreEachCarriedOutOnce(t *testing.T) {
	t.Parallel()
	const commands, tries = 60, 5
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	ids := make([]uuid.UUID, commands)
	for i := range ids {
		ids[i] = uuid.New()
	}
	outcomes := make([]eventstore.Outcome, commands*tries)
	together(commands*tries, func(i int) {
		ctx := eventstore.WithCommand(context.Background(), ids[i%commands], []byte{byte(i % commands)})
		o, err := nodes[rand.IntN(2)].Store.Append(ctx, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
		if err != nil {
			t.Error(err)
		}
		outcomes[i] = o
	})
	for i, o := range outcomes {
		if diff := cmp.Diff(outcomes[i%commands].Streams, o.Streams); diff != "" {
			t.Fatalf("tries of one command differ:\n%s", diff)
		}
	}
	var rows int
	if err := l.Pool.QueryRow(context.Background(), `SELECT count(*) FROM atlas.events`).Scan(&rows); err != nil || rows != commands {
		t.Errorf("%d events (%v), want %d", rows, err, commands)
	}
}

func TestAStreamLockedElsewhereHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	const n = 60 // soon done also on a slow machine: those that wait give up after twelve seconds
	l := logtest.New(t)
	locked := newStream()
	mustAppend(t, l, eventstore.Write{Stream: locked, Expect: eventstore.NoStream, Events: []events.Event{created("x")}})
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `SELECT 1 FROM atlas.streams WHERE stream = $1 FOR UPDATE`, locked.String()); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 8)
	for range cap(waited) {
		go func() {
			_, err := l.Store.Append(ctx, eventstore.Write{Stream: locked, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
			waited <- err
		}()
	}
	together(n, func(int) {
		if _, err := l.Store.Append(ctx, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("x")}}); err != nil {
			t.Error(err)
		}
	})
	select {
	case err := <-waited:
		t.Fatalf("an append to the locked stream came back while it was locked: %v", err)
	default:
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	for range cap(waited) {
		if err := <-waited; err != nil {
			t.Error(err)
		}
	}
	if got := mustLoad(t, l, locked); len(got) != 1+cap(waited) {
		t.Errorf("%d events, want %d", len(got), 1+cap(waited))
	}
}

func TestMultiStreamAppendsDoNotDeadlockAcrossNodes(t *testing.T) {
	t.Parallel()
	const n = 200
	l := logtest.New(t)
	nodes := []*logtest.Log{l, l.Node(t)}
	streams := []eventstore.Stream{newStream(), newStream(), newStream(), newStream()}
	together(n, func(i int) {
		a, b := rand.IntN(4), rand.IntN(3)
		if b >= a {
			b++
		}
		_, err := nodes[i%2].Store.Append(context.Background(),
			eventstore.Write{Stream: streams[a], Expect: eventstore.AnyVersion, Events: []events.Event{created("x")}},
			eventstore.Write{Stream: streams[b], Expect: eventstore.AnyVersion, Events: []events.Event{created("y"), created("z")}})
		if err != nil {
			t.Error(err)
		}
	})
	total := 0
	for _, s := range streams {
		total += len(mustLoad(t, l, s))
	}
	if total != 3*n {
		t.Errorf("%d events, want %d", total, 3*n)
	}
}
