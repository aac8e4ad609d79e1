package eventstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// stalled is a log whose only connection the test keeps: as many appends as go at once are under way, and so are both runs,
// and all stand still.
type stalled struct {
	bare
	results chan error // of the appends under way, and of those that wait
	begun   int
	release func()
}

func newStalled(t *testing.T) *stalled {
	t.Helper()
	s := &stalled{bare: newBare(t), results: make(chan error, 100)}
	conn, err := s.store.pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.release = sync.OnceFunc(conn.Release)
	t.Cleanup(s.release)
	for range aloneLimit + runLimit {
		s.begin(t, context.Background())
		watchtest.Eventually(t, time.Minute, "the append is under way", func() bool {
			_, waiting := s.joined()
			return waiting == 0
		})
	}
	return s
}

// joined returns how many appends are under way, and how many wait.
func (s *stalled) joined() (underWay, waiting int) {
	s.store.lanes.mu.Lock()
	defer s.store.lanes.mu.Unlock()
	return s.store.lanes.underWay, s.store.lanes.waiting
}

// begin begins an append to a stream of its own, and returns the stream when the append has joined a lane that was free.
func (s *stalled) begin(t *testing.T, ctx context.Context) Stream {
	t.Helper()
	stream := NewStream("session", newID())
	st := s.end(t, stream)
	for !s.isFree(st) {
		stream = NewStream("session", newID())
		st = s.end(t, stream)
	}
	s.begun++
	go func() {
		_, err := s.store.lanes.append(ctx, st)
		s.results <- err
	}()
	watchtest.Eventually(t, time.Minute, "the append joins its lane", func() bool {
		underWay, waiting := s.joined()
		return underWay+waiting == s.begun
	})
	return stream
}

// isFree says whether nobody is in the statement's lane.
func (s *stalled) isFree(st *statement) bool {
	s.store.lanes.mu.Lock()
	defer s.store.lanes.mu.Unlock()
	l := s.store.lanes.of(st)
	return !l.active && len(l.queue) == 0
}

// wait begins so many more appends, all of which wait.
func (s *stalled) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		s.begin(t, context.Background())
	}
}

func TestACallerThatGivesUpWhileItWaitsHasAppendedNothing(t *testing.T) {
	t.Parallel()
	s := newStalled(t)
	s.wait(t, 20)
	ctx, cancel := context.WithCancel(context.Background())
	given := s.begin(t, ctx)
	cancel()
	if err := <-s.results; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up got %v, want that its context was cancelled", err)
	}
	s.release()
	for range s.begun - 1 {
		if err := <-s.results; err != nil {
			t.Errorf("a neighbour of who gave up: %v", err)
		}
	}
	var streams, there int
	const q = `SELECT count(*), count(*) FILTER (WHERE stream = $1) FROM atlas.streams`
	if err := s.aside.QueryRow(context.Background(), q, given.String()).Scan(&streams, &there); err != nil {
		t.Fatal(err)
	}
	if streams != s.begun-1 || there != 0 {
		t.Errorf("%d streams, and %d that was given up; want %d and none", streams, there, s.begun-1)
	}
}

func TestAnAppendThatIsUnderWayIsNotGivenUp(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	stream := NewStream("session", newID())
	b.lock(t, stream)
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error, 1), make(chan error, 1)
	st := b.end(t, stream)
	go func() {
		_, err := b.store.lanes.append(ctx, st)
		first <- err
	}()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	watchtest.Eventually(t, time.Minute, "the append waits for the stream", func() bool {
		var n int
		err := b.aside.QueryRow(context.Background(), waiting).Scan(&n)
		return err == nil && n == 1
	})
	cancel()
	gone := b.end(t, stream)
	go func() {
		_, err := b.store.lanes.append(ctx, gone)
		second <- err
	}()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("an append that begins after its context has ended got %v", err)
	}
	select {
	case err := <-first:
		t.Errorf("the append under way was given up: %v", err)
	default:
	}
}

func TestAFullQueueTurnsCallersAway(t *testing.T) {
	t.Parallel()
	s := newStalled(t)
	_, waiting := s.joined()
	s.store.lanes.limit = waiting + 5
	s.wait(t, 5)
	_, err := s.store.lanes.append(context.Background(), s.end(t, NewStream("session", newID())))
	if o, f, ok := fault.Of(err); !ok || f != fault.ErrBusy || o.RetryAfter() != time.Second {
		t.Errorf("got %v, want busy, to be tried again in a second", err)
	}
	s.release()
	for range s.begun {
		if err := <-s.results; err != nil {
			t.Errorf("one that had queued in time: %v", err)
		}
	}
}

// TestASecondTryFindsWhatTheFirstHasDone tries again what was carried out, as after a lost connection. Most of these
// commands are recorded nowhere: their events tell.
func TestASecondTryFindsWhatTheFirstHasDone(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	ctx := context.Background()
	old := NewStream("session", newID())
	if _, err := b.end(t, old).run(ctx, b.aside, true); err != nil {
		t.Fatal(err)
	}
	ended := func(n int) (all []events.Event) {
		for range n {
			all = append(all, events.SessionEnded{UserID: newID(), Reason: "logout"})
		}
		return all
	}
	for name, writes := range map[string][]Write{
		"a new stream":        {{Stream: NewStream("session", newID()), Expect: NoStream, Events: ended(1)}},
		"an exact version":    {{Stream: old, Expect: 1, Events: ended(1)}},
		"any version":         {{Stream: NewStream("session", newID()), Expect: AnyVersion, Events: ended(1)}},
		"several streams":     {{Stream: NewStream("session", newID()), Events: ended(3)}, {Stream: NewStream("session", newID()), Events: ended(2)}},
		"and one only looked": {{Stream: NewStream("session", newID()), Events: ended(1)}, {Stream: NewStream("session", newID())}},
	} {
		st, err := b.store.prepare(ctx, CommandFrom(ctx), writes)
		if err != nil {
			t.Fatal(err)
		}
		first, err := st.run(ctx, b.aside, false)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		st.unknown, st.ask = true, true // as execute notes it
		again, err := b.store.execute(ctx, st, false)
		first.Replayed = true
		if diff := cmp.Diff(first, again); diff != "" || err != nil {
			t.Errorf("%s: %v (-first +again):\n%s", name, err, diff)
		}
		var recorded int
		if err := b.aside.QueryRow(ctx, `SELECT count(*) FROM atlas.commands WHERE id = $1`, st.command.ID).Scan(&recorded); err != nil {
			t.Fatal(err)
		}
		if want := st.part != unrecorded; (recorded == 1) != want {
			t.Errorf("%s: recorded %d times, want that to be %t", name, recorded, want)
		}
	}
}

func TestASecondTryThatLostToAnotherIsALostRace(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	ctx := context.Background()
	stream := NewStream("session", newID())
	write := Write{Stream: stream, Expect: NoStream, Events: []events.Event{events.SessionEnded{UserID: newID(), Reason: "logout"}}}
	st, err := b.store.prepare(ctx, CommandFrom(ctx), []Write{write})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.end(t, stream).run(ctx, b.aside, true); err != nil {
		t.Fatal(err)
	}
	st.unknown, st.ask = true, true
	var lost *ErrVersion
	if _, err := b.store.execute(ctx, st, false); !errors.As(err, &lost) || lost.Actual != 1 {
		t.Errorf("got %v, want a lost race at version 1", err)
	}
}

// waitBriefly makes of the twelve seconds that an append waits for a stream a fraction of one.
func (b bare) waitBriefly(t *testing.T) {
	t.Helper()
	const long, brief = "set_config('lock_timeout', '12s', true)", "set_config('lock_timeout', '300ms', true)"
	var text string
	if err := b.aside.QueryRow(t.Context(), `SELECT pg_get_functiondef('atlas.append'::regproc)`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Count(text, long) != 1 {
		t.Fatalf("atlas.append does not hold %q once", long)
	}
	if _, err := b.aside.Exec(t.Context(), strings.Replace(text, long, brief, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestWhoeverWaitsTooLongForAStreamIsToldThatItIsBusy(t *testing.T) {
	t.Parallel()
	b := newBare(t)
	b.waitBriefly(t)
	stream := NewStream("session", newID())
	b.lock(t, stream)
	_, err := b.store.execute(context.Background(), b.end(t, stream), true)
	if _, f, ok := fault.Of(err); !ok || f != fault.ErrBusy {
		t.Errorf("got %v, want busy: nothing was written", err)
	}
}
