package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// documents is a group on the documents' streams.
func documents(name string) Definition {
	return Definition{Name: name, Filter: eventstore.Filter{Categories: []string{"document"}}}
}

// soon are options under which failures are tried again soon.
func soon(attempts int) Options {
	return Options{Retry: Retry{First: 5 * time.Millisecond, Max: 20 * time.Millisecond, Attempts: attempts}}
}

// journal notes the versions of each stream that were done, in the order in which they were.
type journal struct {
	mu   sync.Mutex
	done map[eventstore.Stream][]int64
	all  int
}

func (j *journal) note(e *eventstore.Recorded) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done == nil {
		j.done = map[eventstore.Stream][]int64{}
	}
	j.done[e.Stream] = append(j.done[e.Stream], e.Version)
	j.all++
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all
}

func (j *journal) of(stream eventstore.Stream) []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.done[stream])
}

// wantInOrder holds that every stream's versions 1 to n were done once each, in order.
func (j *journal) wantInOrder(t *testing.T, streams []eventstore.Stream, n int) {
	t.Helper()
	want := make([]int64, n)
	for i := range want {
		want[i] = int64(i + 1)
	}
	for _, s := range streams {
		if got := j.of(s); !slices.Equal(got, want) {
			t.Fatalf("%s: versions %v were done, want 1 to %d", s, got, n)
		}
	}
}

func newStreams(n int) []eventstore.Stream {
	all := make([]eventstore.Stream, n)
	for i := range all {
		all[i] = newStream()
	}
	return all
}

// settled waits until everything up to a position is recorded as done, and nothing is held.
func settled(t *testing.T, l *Log, group string, upto int64) {
	t.Helper()
	eventually(t, "the group has come to the end", func() bool {
		s, err := l.Show(context.Background(), group)
		return err == nil && s.Position >= upto && s.Held == 0
	})
}

func mustShow(t *testing.T, l *Log, group string) Status {
	t.Helper()
	s, err := l.Show(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryStreamComesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	streams := newStreams(40)
	var j journal
	consume(t, subscriptions, documents("g"), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
		j.note(e)
		return nil
	})
	var last int64
	for range 25 {
		last = writeTo(t, l, streams, 1)
	}
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, 25)
}

func TestAStreamInHandHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	slow, quick := newStream(), newStream()
	entered, release := make(chan struct{}, 10), make(chan struct{})
	var j journal
	consume(t, subscriptions, documents("g"), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
		if e.Stream == slow && e.Version == 1 {
			entered <- struct{}{}
			<-release
		}
		j.note(e)
		return nil
	})
	write(t, l, slow, 3)
	receive(t, entered)
	write(t, l, slow, 1)
	write(t, l, quick, 3)
	eventually(t, "the other stream is done", func() bool { return len(j.of(quick)) == 3 })
	if got := j.of(slow); len(got) != 0 {
		t.Errorf("versions %v of the slow stream were done beside its first", got)
	}
	close(release)
	eventually(t, "the slow stream is done", func() bool { return len(j.of(slow)) >= 4 })
	j.wantInOrder(t, []eventstore.Stream{slow}, 4)
	j.wantInOrder(t, []eventstore.Stream{quick}, 3)
	if n := len(entered); n > 0 {
		t.Errorf("the first message was in hand %d more times", n)
	}
}

// TestASlowMessageDoesNotHoldTheCheckpoint has one message in hand for as long as it takes the position to pass it.
func TestASlowMessageDoesNotHoldTheCheckpoint(t *testing.T) {
	t.Parallel()
	inEveryWay(t, slowMessage)
}

func slowMessage(t *testing.T, work way) {
	l, subscriptions := newLog(t)
	slow := newStream()
	release := make(chan struct{})
	work(t, subscriptions, documents("g"), Options{}, func(ctx context.Context, e *eventstore.Recorded) error {
		if e.Stream == slow {
			Progress(ctx, "half of it")
			<-release
		}
		return nil
	})
	t.Cleanup(func() { close(release) })
	first := write(t, l, slow, 2)
	last := write(t, l, newStream(), 3)
	eventually(t, "the position passes the slow message, which is listed", func() bool {
		held, err := subscriptions.Held(t.Context(), "g", 10)
		return err == nil && len(held) == 1 && held[0].Stream == slow.String() && held[0].Position == first-1 &&
			held[0].Progress == "half of it" && mustShow(t, subscriptions, "g").Position >= last
	})
}

func TestAFailedMessageHoldsUpItsStreamAloneAndComesFirstThen(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	streams := newStreams(10)
	var j journal
	var attempts atomic.Int32
	consume(t, subscriptions, documents("g"), soon(0), func(ctx context.Context, e *eventstore.Recorded) error {
		if e.Stream == streams[0] && e.Version == 2 && attempts.Add(1) < 5 {
			return fmt.Errorf("attempt %d", Attempt(ctx))
		}
		j.note(e)
		return nil
	})
	var last int64
	for _, s := range streams {
		last = write(t, l, s, 200) // more than is kept in memory of one
	}
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, 200)
	if n := attempts.Load(); n != 5 {
		t.Errorf("the failing message was tried %d times, want 5", n)
	}
}

// TestAPoisonMessageIsParked has one message that always fails. It is retried and discarded as an operator would.
func TestAPoisonMessageIsParked(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	poisoned := newStream()
	var j journal
	var healthy atomic.Bool
	consume(t, subscriptions, documents("g"), soon(3), func(ctx context.Context, e *eventstore.Recorded) error {
		if e.Stream == poisoned && e.Version == 2 && !healthy.Load() {
			return errors.New("the provider says no\x00")
		}
		j.note(e)
		return nil
	})
	write(t, l, poisoned, 2)
	last := write(t, l, poisoned, 3)
	settled(t, subscriptions, "g", last)
	if got, want := j.of(poisoned), []int64{1, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("versions %v were done, want %v", got, want)
	}
	parked := mustParked(t, subscriptions, "g")
	if len(parked) != 1 || parked[0].Stream != poisoned.String() || parked[0].Version != 2 || parked[0].Attempts != 3 ||
		parked[0].Error != "the provider says no�" {
		t.Fatalf("parked are %+v, want version 2 of the stream after 3 attempts", parked)
	}

	retry := func(which Which) {
		t.Helper()
		if _, err := subscriptions.Retry(t.Context(), "g", which); err != nil {
			t.Fatal(err)
		}
	}
	retry(Which{Error: "says no"})
	eventually(t, "the retry failed", func() bool { p := mustParked(t, subscriptions, "g"); return len(p) == 1 && p[0].Attempts == 4 })
	healthy.Store(true)
	retry(Which{Position: parked[0].Position})
	eventually(t, "the retry went through", func() bool { return len(mustParked(t, subscriptions, "g")) == 0 })
	if got, want := j.of(poisoned), []int64{1, 3, 4, 5, 2}; !slices.Equal(got, want) {
		t.Errorf("versions %v were done, want %v", got, want)
	}
	for what, err := range map[string]error{
		"retry":             second(subscriptions.Retry(t.Context(), "g", Which{})),
		"discard":           second(subscriptions.Discard(t.Context(), "g", Which{})),
		"retry by position": second(subscriptions.Retry(t.Context(), "g", Which{Position: 1})),
	} {
		if !errors.Is(err, ErrNotParked) {
			t.Errorf("%s of nothing: %v, want ErrNotParked", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func mustParked(t *testing.T, l *Log, group string) []DeadLetter {
	t.Helper()
	parked, err := l.Parked(t.Context(), group, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return parked
}

// TestRetriedMessagesComeInOrderAndNeverBesideTheirStream parks half of some streams and retries them while their streams
// grow.
func TestRetriedMessagesComeInOrderAndNeverBesideTheirStream(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	streams := newStreams(5)
	var healthy atomic.Bool
	var j journal
	busy := sync.Map{}
	consume(t, subscriptions, documents("g"), soon(1), func(_ context.Context, e *eventstore.Recorded) error {
		if _, beside := busy.LoadOrStore(e.Stream, true); beside {
			t.Errorf("two messages of %s were in hand at once", e.Stream)
		}
		defer busy.Delete(e.Stream)
		if e.Version%2 == 0 && e.Version <= 10 && !healthy.Load() {
			return errors.New("no")
		}
		time.Sleep(time.Millisecond)
		j.note(e)
		return nil
	})
	for _, s := range streams {
		write(t, l, s, 10)
	}
	eventually(t, "half is parked", func() bool { return len(mustParked(t, subscriptions, "g")) == 25 })
	healthy.Store(true)
	if n, err := subscriptions.Retry(t.Context(), "g", Which{}); err != nil || n != 25 {
		t.Fatalf("retried %d, %v; want 25", n, err)
	}
	var last int64
	for range 20 {
		for _, s := range streams {
			last = write(t, l, s, 1)
		}
	}
	settled(t, subscriptions, "g", last)
	eventually(t, "all are done", func() bool { return len(mustParked(t, subscriptions, "g")) == 0 })
	for _, s := range streams {
		var retried []int64
		for _, v := range j.of(s) {
			if v%2 == 0 && v <= 10 {
				retried = append(retried, v)
			}
		}
		if want := []int64{2, 4, 6, 8, 10}; !slices.Equal(retried, want) {
			t.Errorf("%s: retried came as %v, want %v", s, retried, want)
		}
	}
}

// TestAMessageRetriedWhileItsStreamWaitsComesFirst has a stream wait for its turn with its next message when an operator
// retries the one before.
func TestAMessageRetriedWhileItsStreamWaitsComesFirst(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	first, waiting := newStream(), newStream()
	entered, release := make(chan struct{}), make(chan struct{})
	var healthy atomic.Bool
	var j journal
	ctx, end := context.WithCancel(t.Context())
	m := subscriptions.newMember(ctx, documents("g"), Options{Concurrency: 1}, func(d *delivery) error {
		if d.event.Stream == first {
			entered <- struct{}{}
			<-release
		} else if !healthy.Load() {
			return Permanent(errors.New("no"))
		}
		j.note(d.event)
		return nil
	})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.run(ctx) }()
	defer func() { end(); <-ended }()
	write(t, l, waiting, 1)
	eventually(t, "it is parked", func() bool { return len(mustParked(t, subscriptions, "g")) == 1 })
	healthy.Store(true)
	write(t, l, first, 1)
	receive(t, entered)
	write(t, l, waiting, 1)
	eventually(t, "the next one waits for its turn", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.ready.len() == 1
	})
	if _, err := subscriptions.Retry(t.Context(), "g", Which{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the retry has come", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		s := m.slots[SlotOf(waiting)]
		return s != nil && s.streams[waiting] != nil && len(s.streams[waiting].redo) == 1
	})
	close(release)
	eventually(t, "both are done", func() bool { return len(j.of(waiting)) == 2 })
	if got := j.of(waiting); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("versions %v were done in this order, want the retried one first", got)
	}
}

func TestAPermanentFailureIsParkedAtOnceAndADelayIsNoFailure(t *testing.T) {
	t.Parallel()
	inEveryWay(t, permanentAndDelay)
}

func permanentAndDelay(t *testing.T, work way) {
	l, subscriptions := newLog(t)
	refused, later := newStream(), newStream()
	var tries, delays atomic.Int32
	work(t, subscriptions, documents("g"), soon(2), func(_ context.Context, e *eventstore.Recorded) error {
		if e.Stream == refused {
			tries.Add(1)
			return fmt.Errorf("sent: %w", Permanent(errors.New("no such address")))
		}
		if delays.Add(1) <= 5 {
			return Delay(time.Millisecond)
		}
		return nil
	})
	write(t, l, refused, 1)
	last := write(t, l, later, 1)
	settled(t, subscriptions, "g", last)
	if parked := mustParked(t, subscriptions, "g"); len(parked) != 1 || parked[0].Attempts != 1 || tries.Load() != 1 {
		t.Errorf("parked are %+v after %d tries, want the refused one after one", parked, tries.Load())
	}
	if n := delays.Load(); n != 6 {
		t.Errorf("the delayed message came %d times, want 6", n)
	}
}

// TestTimeIsLimitedAndCanBeExtended has one handler that takes too long and another that asks for more time.
func TestTimeIsLimitedAndCanBeExtended(t *testing.T) {
	t.Parallel()
	inEveryWay(t, limitedTime)
}

func limitedTime(t *testing.T, work way) {
	const limit = 100 * time.Millisecond
	l, subscriptions := newLog(t)
	write(t, l, newStream(), 1)
	causes, extended := make(chan error, 10), make(chan error, 10)
	endless := soon(1)
	endless.TimeLimit = limit
	work(t, subscriptions, documents("endless"), endless, func(ctx context.Context, _ *eventstore.Recorded) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	})
	patient := soon(-1)
	patient.TimeLimit = limit
	work(t, subscriptions, documents("patient"), patient, func(ctx context.Context, _ *eventstore.Recorded) error {
		Extend(ctx, time.Hour)
		if ctx.Err() != nil {
			return ctx.Err() // it came to ask too late, and is tried again
		}
		<-time.After(4 * limit)
		extended <- ctx.Err()
		return nil
	})
	if err := receive(t, causes); err != ErrTimeLimit {
		t.Errorf("the context ended with %v, want ErrTimeLimit", err)
	}
	if err := receive(t, extended); err != nil {
		t.Errorf("the extended context: %v", err)
	}
	eventually(t, "the endless one is parked", func() bool { return len(mustParked(t, subscriptions, "endless")) == 1 })
}

// TestAPanicIsAFailure also holds that the process goes on.
func TestAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	var once sync.Once
	consume(t, subscriptions, documents("g"), soon(3), func(context.Context, *eventstore.Recorded) error {
		once.Do(func() { panic("oh no") })
		return nil
	})
	settled(t, subscriptions, "g", write(t, l, newStream(), 3))
}

// TestStoppingTellsHandlersAndWaitsForThem stops a worker that ends when it is told so, and one that does not.
func TestStoppingTellsHandlersAndWaitsForThem(t *testing.T) {
	t.Parallel()
	inEveryWay(t, stopping)
}

func stopping(t *testing.T, work way) {
	l, subscriptions := newLog(t)
	stream := newStream()
	write(t, l, stream, 1)
	entered, causes := make(chan struct{}, 10), make(chan error, 10)
	stops := []func(){
		work(t, subscriptions, documents("attentive"), Options{Drain: patience}, func(ctx context.Context, _ *eventstore.Recorded) error {
			entered <- struct{}{}
			<-Stopping(ctx)
			select { // it takes a while to come to an end
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			return ctx.Err() // nil: there was time
		}),
		work(t, subscriptions, documents("deaf"), Options{Drain: time.Millisecond}, func(ctx context.Context, _ *eventstore.Recorded) error {
			entered <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}),
	}
	for range stops {
		receive(t, entered)
	}
	for _, stop := range stops {
		stop()
	}
	if err := receive(t, causes); err != ErrStopping {
		t.Errorf("the context ended with %v, want ErrStopping", err)
	}
	write(t, l, newStream(), 1)
	for name, again := range map[string]int{"attentive": 0, "deaf": 1} {
		s := mustShow(t, subscriptions, name)
		if len(s.Members) != 0 || s.Free != Slots {
			t.Errorf("after a clean stop there are %d members and %d free slots, want 0 and %d", len(s.Members), s.Free, Slots)
		}
		var j journal
		consume(t, subscriptions, documents(name), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
			j.note(e)
			return nil
		})
		eventually(t, "what comes next, and what was cut short", func() bool { return j.count() >= 1+again })
		if got := j.of(stream); len(got) != again {
			t.Errorf("%s: what was in hand comes again: %v, want %d", name, got, again)
		}
	}
}

// TestAHotStreamHoldsUpNoOther gives one stream ten times what is kept in memory, before the others.
func TestAHotStreamHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	hot, others := newStream(), newStreams(20)
	gate := make(chan struct{})
	var j journal
	o := Options{Window: 200}
	consume(t, subscriptions, documents("g"), o, func(_ context.Context, e *eventstore.Recorded) error {
		if e.Stream == hot {
			<-gate
		}
		j.note(e)
		return nil
	})
	var last int64
	for range 4 {
		last = write(t, l, hot, 500)
	}
	for _, s := range others {
		last = write(t, l, s, 5)
	}
	eventually(t, "the others are done", func() bool { return j.count() == 100 })
	close(gate)
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, others, 5)
	j.wantInOrder(t, []eventstore.Stream{hot}, 2000)
}

// TestAProviderThatIsDownLosesNothing fails every message of many streams for a while. The position passes them all, and
// another process goes on with them. That so many failed is recorded bit by bit: on a slow database it would not be in time
// otherwise.
func TestAProviderThatIsDownLosesNothing(t *testing.T) {
	t.Parallel()
	const n = 10_000 // of streams; each holds two messages
	l, subscriptions := newLog(t)
	streams := newStreams(n)
	var down atomic.Bool
	down.Store(true)
	var j journal
	handle := func(_ context.Context, e *eventstore.Recorded) error {
		if down.Load() {
			return errors.New("503")
		}
		j.note(e)
		return nil
	}
	o := Options{Retry: Retry{First: 3 * time.Second, Max: 3 * time.Second, Attempts: -1}}
	var last int64
	for at := 0; at < n; at += 100 {
		last = writeTo(t, l, streams[at:at+100], 2)
	}
	boundHeld(t, l, 1000)
	stop := consume(t, subscriptions, documents("g"), o, handle)
	eventually(t, "all streams are held and passed", func() bool {
		s := mustShow(t, subscriptions, "g")
		return s.Held == n && s.Failing == n && s.Position >= last
	})
	stop()
	consume(t, subscriptions, documents("g"), o, handle)
	down.Store(false)
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, 2)
}

// TestAHeldStreamThatGrowsTakesNoMoreMemory has a stream wait for another try, and grow meanwhile.
func TestAHeldStreamThatGrowsTakesNoMoreMemory(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	o := quick(Options{Retry: Retry{First: time.Hour, Max: time.Hour}})
	m := subscriptions.newMember(ctx, documents("g"), o, func(*delivery) error { return errors.New("503") })
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.run(ctx) }()
	defer func() { end(); <-ended }()
	stream := newStream()
	write(t, l, stream, 1)
	eventually(t, "it is held", func() bool { return mustShow(t, subscriptions, "g").Held == 1 })
	last := write(t, l, stream, 300)
	eventually(t, "the rest is passed", func() bool { return mustShow(t, subscriptions, "g").Position >= last })
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.timers.Len(); n != 1 || m.waiting != 0 || m.slots[SlotOf(stream)].window.len() != 0 {
		t.Errorf("%d timers, %d messages and %d places are in memory, want one timer", n, m.waiting, m.slots[SlotOf(stream)].window.len())
	}
}

// boundHeld has the database refuse to record more streams in one statement.
func boundHeld(t *testing.T, l *logtest.Log, most int) {
	t.Helper()
	const refuse = `
		CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM made) > TG_ARGV[0]::bigint THEN
				RAISE EXCEPTION 'too many streams at once';
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER refuse_many AFTER INSERT ON atlas.subscription_held REFERENCING NEW TABLE AS made
			FOR EACH STATEMENT EXECUTE FUNCTION refuse_many(%d)`
	if _, err := l.Pool.Exec(t.Context(), fmt.Sprintf(refuse, most)); err != nil {
		t.Fatal(err)
	}
}

// writeTo appends n events to each stream, at once.
func writeTo(t testing.TB, l *logtest.Log, streams []eventstore.Stream, n int) (last int64) {
	t.Helper()
	var writes []eventstore.Write
	for _, s := range streams {
		writes = append(writes, eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: archived(n)})
	}
	o, err := l.Store.Append(context.Background(), writes...)
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

// TestTooManyHeldStreamsPauseTheGroupWhichSaysSo also holds that it goes on by itself.
func TestTooManyHeldStreamsPauseTheGroupWhichSaysSo(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	var down atomic.Bool
	down.Store(true)
	var j journal
	o := Options{MaxHeld: 10, Window: 1, Concurrency: 1, Retry: Retry{First: 50 * time.Millisecond, Max: 50 * time.Millisecond, Attempts: -1}}
	consume(t, subscriptions, documents("g"), o, func(_ context.Context, e *eventstore.Recorded) error {
		if down.Load() {
			return errors.New("503")
		}
		j.note(e)
		return nil
	})
	streams := newStreams(60)
	for _, s := range streams[:20] {
		write(t, l, s, 1)
	}
	paused := func() bool {
		s := mustShow(t, subscriptions, "g")
		return len(s.Members) == 1 && s.Members[0].Paused != ""
	}
	eventually(t, "the group says that it is paused", paused)
	var last int64
	for _, s := range streams[20:] {
		last = write(t, l, s, 1)
	}
	down.Store(false)
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, 1)
	eventually(t, "the group is not paused any more", func() bool { return !paused() })
}

// TestManyHandlersNeedFewConnections has a thousand handlers in hand at once, in a process that has five connections in all.
func TestManyHandlersNeedFewConnections(t *testing.T) {
	t.Parallel()
	const n = 1000
	l, subscriptions := newLog(t)
	few, err := openNode(t.Context(), l.URL, quiet, postgres.MaxConns(5))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(few.pool.Close)
	var inHand atomic.Int32
	all := make(chan struct{})
	consume(t, few, documents("g"), Options{Concurrency: n}, func(context.Context, *eventstore.Recorded) error {
		if inHand.Add(1) == n {
			close(all)
		}
		<-all
		return nil
	})
	var last int64
	for range n / 100 {
		last = writeTo(t, l, newStreams(100), 1)
	}
	receive(t, all)
	settled(t, subscriptions, "g", last)
}
