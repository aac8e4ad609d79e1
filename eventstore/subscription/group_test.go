package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// desks returns the desks of n members of a group that is made.
func desks(t *testing.T, l *Log, group string, n int) []desk {
	t.Helper()
	if err := l.Create(t.Context(), documents(group)); err != nil {
		t.Fatal(err)
	}
	all := make([]desk, n)
	for i := range all {
		all[i] = desk{pool: l.pool, group: group, member: uuid.New(), label: fmt.Sprint(i)}
	}
	return all
}

func mustLease(t *testing.T, d desk, lasting time.Duration, held []hold) leased {
	t.Helper()
	l, err := d.lease(t.Context(), lasting, "", held, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func holds(l leased) (all []hold) {
	for _, g := range l.Taken {
		all = append(all, g.hold)
	}
	return all
}

func TestMembersShareTheSlotsAndTakeNoneOfTheLiving(t *testing.T) {
	t.Parallel()
	_, subscriptions := newLog(t)
	d := desks(t, subscriptions, "g", 3)
	first := mustLease(t, d[0], time.Minute, nil)
	if first.Share != Slots || len(first.Taken) != Slots {
		t.Fatalf("alone a member has a share of %d and takes %d, want all", first.Share, len(first.Taken))
	}
	if l := mustLease(t, d[1], time.Minute, nil); l.Share != Slots/2 || len(l.Taken) != 0 {
		t.Errorf("beside another it has a share of %d and takes %d, want half and none", l.Share, len(l.Taken))
	}
	again := mustLease(t, d[0], time.Minute, holds(first))
	if again.Share != Slots/2 || len(again.Kept) != Slots || len(again.Taken) != 0 {
		t.Errorf("the first has a share of %d, keeps %d and takes %d; want half, all and none", again.Share, len(again.Kept), len(again.Taken))
	}
	if err := d[0].release(t.Context(), holds(first)[Slots/2:], false); err != nil {
		t.Fatal(err)
	}
	if l := mustLease(t, d[1], time.Minute, nil); len(l.Taken) != Slots/2 {
		t.Errorf("of what was given back it takes %d, want %d", len(l.Taken), Slots/2)
	}
	mustLease(t, d[2], time.Minute, nil)
	shares := 0
	for _, d := range d {
		shares += mustLease(t, d, time.Minute, nil).Share
	}
	if shares != Slots {
		t.Errorf("the shares of three are %d in all, want %d", shares, Slots)
	}
}

// TestAMemberWithoutSlotsLeavesLikeAnyOther has one come when all slots are taken, and go again.
func TestAMemberWithoutSlotsLeavesLikeAnyOther(t *testing.T) {
	t.Parallel()
	_, subscriptions := newLog(t)
	d := desks(t, subscriptions, "g", 2)
	all := holds(mustLease(t, d[0], time.Hour, nil))
	if l := mustLease(t, d[1], time.Hour, nil); len(l.Taken) != 0 {
		t.Fatalf("it was given %d slots that another holds", len(l.Taken))
	}
	if err := d[1].release(t.Context(), nil, true); err != nil {
		t.Fatal(err)
	}
	if l := mustLease(t, d[0], time.Hour, all); l.Share != Slots || l.Members != 1 {
		t.Errorf("the other has a share of %d among %d, want all and itself alone", l.Share, l.Members)
	}
}

// zombie has a member's lease end, another take its slots, and the first say then what it has done. It returns what that
// changed: nothing, if the protocol holds.
func zombie(t *testing.T, subscriptions *Log, pool *pgxpool.Pool) error {
	t.Helper()
	d := desks(t, subscriptions, "g", 2)
	old := holds(mustLease(t, d[0], time.Millisecond, nil))
	var taken []grant
	eventually(t, "the other takes the slots", func() bool {
		taken = append(taken, mustLease(t, d[1], time.Minute, holdsOf(taken)).Taken...)
		return len(taken) == Slots
	})
	said := change{
		Turn:   1,
		Slots:  []slotChange{{old[7], 1000, []int64{1005}}},
		Held:   []heldChange{{Slot: 7, Stream: "document-" + uuid.NewString(), Position: 1, Version: 1}},
		Parked: []parkedChange{{Slot: 7, Position: 3, Stream: "document-" + uuid.NewString(), Version: 1, Event: uuid.New()}},
	}
	mine, err := d[0].flush(t.Context(), said)
	if err != nil {
		t.Fatal(err)
	}
	var moved, held, parked int
	const q = `SELECT (SELECT count(*) FROM atlas.subscription_slots WHERE position <> 0 OR acked <> '{}'),
		(SELECT count(*) FROM atlas.subscription_held), (SELECT count(*) FROM atlas.subscription_parked)`
	if err := pool.QueryRow(t.Context(), q).Scan(&moved, &held, &parked); err != nil {
		t.Fatal(err)
	}
	if len(mine) > 0 || moved+held+parked > 0 {
		return fmt.Errorf("the zombie was told that it owns %v; %d slots moved, %d streams were held, %d messages parked", mine, moved, held, parked)
	}
	if mine, err = d[1].flush(t.Context(), change{Turn: 1, Slots: []slotChange{{taken[7].hold, 10, []int64{}}}}); err != nil || len(mine) != 1 {
		return fmt.Errorf("the owner's word counted for %v, %v; want its slot", mine, err)
	}
	return nil
}

func holdsOf(taken []grant) (all []hold) {
	for _, g := range taken {
		all = append(all, g.hold)
	}
	return all
}

func TestWhatAZombieSaysCountsForNothing(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := zombie(t, subscriptions, l.Pool); err != nil {
		t.Error(err)
	}
}

// overtaken has what a member said first arrive after what it said then, as when it gave up waiting for the answer. It must
// count for nothing, until the slot is leased anew.
func overtaken(t *testing.T, subscriptions *Log, pool *pgxpool.Pool) error {
	t.Helper()
	d := desks(t, subscriptions, "g", 1)[0]
	seven := holds(mustLease(t, d, time.Minute, nil))[7]
	say := func(turn, position int64) (counted bool) {
		t.Helper()
		c := change{Turn: turn, Slots: []slotChange{{seven, position, []int64{}}},
			Held: []heldChange{{Slot: 7, Stream: fmt.Sprintf("document-%s", uuid.NewString()), Position: position, Version: 1}}}
		mine, err := d.flush(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return len(mine) == 1
	}
	if !say(2, 10) || say(1, 5) || !say(3, 11) {
		return errors.New("not the second and the third word counted, and they alone")
	}
	var position, held int64
	const q = `SELECT position, (SELECT count(*) FROM atlas.subscription_held) FROM atlas.subscription_slots WHERE slot = 7`
	if err := pool.QueryRow(t.Context(), q).Scan(&position, &held); err != nil {
		t.Fatal(err)
	}
	if position != 11 || held != 2 {
		return fmt.Errorf("the slot stands at %d and has %d streams held, want 11 and 2", position, held)
	}
	if err := d.release(t.Context(), []hold{seven}, false); err != nil {
		t.Fatal(err)
	}
	for _, h := range holds(mustLease(t, d, time.Minute, nil)) {
		if h.Slot == seven.Slot {
			seven = h
		}
	}
	if !say(1, 12) {
		return errors.New("under a new lease the first word does not count")
	}
	return nil
}

func TestWhatArrivesLateCountsForNothing(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := overtaken(t, subscriptions, l.Pool); err != nil {
		t.Error(err)
	}
}

// mutate changes a function of the protocol in the test's own database.
func mutate(t *testing.T, pool *pgxpool.Pool, function, from, to string) {
	t.Helper()
	var text string
	if err := pool.QueryRow(t.Context(), `SELECT pg_get_functiondef(('atlas.' || $1)::regproc)`, function).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Count(text, from) != 1 {
		t.Fatalf("%s does not hold %q once", function, from)
	}
	if _, err := pool.Exec(t.Context(), strings.Replace(text, from, to, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestTheTestsNoticeABrokenProtocol breaks one rule at a time, and holds that the scenarios above notice.
func TestTheTestsNoticeABrokenProtocol(t *testing.T) {
	t.Parallel()
	for what, m := range map[string]struct {
		function, from, to string
		scenario           func(*testing.T, *Log, *pgxpool.Pool) error
	}{
		"neither member nor epoch is checked": {"flush_subscription", "AND s.member = by AND s.epoch = c.epoch", "", zombie},
		"a late word counts":                  {"flush_subscription", "OR s.turn < (change->>'turn')::bigint", "OR true", overtaken},
		"a held stream is not recorded":       {"flush_subscription", "IF change ? 'held' THEN", "IF false THEN", heldHandover},
		"acks above the position are lost":    {"flush_subscription", "acked = c.acked,", "", ackedHandover},
		"a reset leaves the epochs":           {"reset_subscription", "SET epoch = s.epoch + 1,", "SET epoch = s.epoch,", resetInHand},
		"a reset leaves what was held":        {"reset_subscription", "DELETE FROM atlas.subscription_held h WHERE h.subscription = of;", "", resetInHand},
		"effects beyond the slots go":         {"prune_subscription", "p.upto <= done", "true", effectsComeAgain},
		"effects of held streams go":          {"prune_subscription", "(SELECT min(h.position) - 1 FROM atlas.subscription_held h WHERE h.subscription = of),", "", effectsComeAgain},
		"effects of parked messages go":       {"prune_subscription", "AND d.event = p.event", "AND false", effectsComeAgain},
		"effects of leased messages go":       {"prune_subscription", "q.seen >= q.position", "false", effectsOfQueue},
		"effects end with a page":             {"prune_subscription", "max(p.recorded_at)", "NULL::timestamptz", effectsComeAgain},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l, subscriptions := newLog(t)
			mutate(t, l.Pool, m.function, m.from, m.to)
			if err := m.scenario(t, subscriptions, l.Pool); err == nil {
				t.Error("nobody noticed")
			}
		})
	}
}

// fast is the shortest life of a lease with which the scenarios below work on a loaded machine.
const fast = 4 * time.Second

// heldHandover has a message fail, its group's process stop, and another go on. The message and those behind it must come.
func heldHandover(t *testing.T, subscriptions *Log, _ *pgxpool.Pool) error {
	t.Helper()
	l := &logtest.Log{Pool: subscriptions.pool, Store: subscriptions.store, Tail: subscriptions.tail}
	failing := newStream()
	o := Options{Retry: Retry{First: 200 * time.Millisecond, Max: 200 * time.Millisecond, Attempts: -1}}
	stop := consume(t, subscriptions, documents("g"), o, func(_ context.Context, e *eventstore.Recorded) error {
		return errors.New("no")
	})
	last := write(t, l, failing, 3)
	eventually(t, "the position passes the failing stream", func() bool { return mustShow(t, subscriptions, "g").Position >= last })
	stop()
	var j journal
	consume(t, subscriptions, documents("g"), o, func(_ context.Context, e *eventstore.Recorded) error {
		j.note(e)
		return nil
	})
	settled(t, subscriptions, "g", write(t, l, newStream(), 1))
	if got, want := j.of(failing), []int64{1, 2, 3}; !slices.Equal(got, want) {
		return fmt.Errorf("of the failing stream came %v, want %v", got, want)
	}
	return nil
}

func TestAHeldStreamIsHandedOver(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := heldHandover(t, subscriptions, l.Pool); err != nil {
		t.Error(err)
	}
}

// ackedHandover has one message in hand and others of its slot done, and then another process go on as after a crash.
// What was recorded must not come again.
func ackedHandover(t *testing.T, subscriptions *Log, pool *pgxpool.Pool) error {
	t.Helper()
	l := &logtest.Log{Pool: pool, Store: subscriptions.store, Tail: subscriptions.tail}
	stuck := newStream()
	beside := newStream()
	for SlotOf(beside) != SlotOf(stuck) {
		beside = newStream()
	}
	write(t, l, stuck, 1)
	write(t, l, beside, 5)
	gate := make(chan struct{})
	ctx, crash := context.WithCancel(t.Context())
	if err := subscriptions.Create(ctx, documents("g")); err != nil {
		t.Fatal(err)
	}
	var before journal
	o := Options{Lease: fast, Drain: time.Millisecond, slow: time.Hour}
	m := subscriptions.newMember(ctx, documents("g"), o, func(d *delivery) error {
		if d.event.Stream == stuck {
			<-gate
		}
		before.note(d.event)
		return nil
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = m.run(ctx) }()
	eventually(t, "the others of the slot are done", func() bool { return len(before.of(beside)) == 5 })
	eventually(t, "that is recorded", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		s := m.slots[SlotOf(stuck)]
		return s != nil && !s.dirty && len(s.above()) == 5
	})
	if err := m.record(ctx, changed); err != nil { // waits for the one under way
		t.Fatal(err)
	}
	crash()
	const forget = `UPDATE atlas.subscription_slots SET member = NULL, epoch = epoch + 1 WHERE subscription = 'g'`
	if _, err := pool.Exec(t.Context(), forget+" AND slot = $1", SlotOf(stuck)); err != nil {
		t.Fatal(err)
	}
	close(gate)
	<-done
	var j journal
	consume(t, subscriptions, documents("g"), Options{Lease: fast}, func(_ context.Context, e *eventstore.Recorded) error {
		j.note(e)
		return nil
	})
	settled(t, subscriptions, "g", write(t, l, newStream(), 1))
	if got := j.of(beside); len(got) > 0 {
		return fmt.Errorf("versions %v came again though they were recorded as done", got)
	}
	if got := j.of(stuck); len(got) != 1 {
		return fmt.Errorf("what was in hand came as %v, want once more", got)
	}
	return nil
}

func TestWhatIsDoneAboveThePositionDoesNotComeAgain(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := ackedHandover(t, subscriptions, l.Pool); err != nil {
		t.Error(err)
	}
}

// resetInHand resets a group while one of its messages is in hand and another stream is held, and lets the handler end
// then. Everything must come again, once and in order, and never two of a stream at once.
func resetInHand(t *testing.T, subscriptions *Log, _ *pgxpool.Pool) error {
	t.Helper()
	l := &logtest.Log{Pool: subscriptions.pool, Store: subscriptions.store, Tail: subscriptions.tail}
	apart := oneOfEachSlot()
	inHand, held, done := apart[0], apart[1], apart[2]
	var was atomic.Bool // the reset
	var beside atomic.Bool
	var running atomic.Int32
	entered, causes := make(chan struct{}, 1), make(chan error, 1)
	knows, again := make(chan struct{}), make(chan struct{})
	closeKnows, closeAgain := sync.OnceFunc(func() { close(knows) }), sync.OnceFunc(func() { close(again) })
	var j journal
	o := Options{Replays: true, Lease: fast, Retry: Retry{First: time.Hour, Max: time.Hour, Attempts: -1}}
	o.slow, o.idle = time.Hour, time.Hour // so that the renewal of the lease is what tells the member
	stop := consume(t, subscriptions, documents("g"), o, func(ctx context.Context, e *eventstore.Recorded) error {
		if e.Stream == inHand {
			if running.Add(1) > 1 {
				beside.Store(true)
			}
			defer running.Add(-1)
		}
		switch {
		case was.Load():
			j.note(e)
		case e.Stream == inHand:
			entered <- struct{}{}
			select {
			case <-ctx.Done():
			case <-knows:
			}
			causes <- context.Cause(ctx)
			<-again // it lingers
		case e.Stream == held:
			return errors.New("no")
		}
		return nil
	})
	defer func() { closeKnows(); closeAgain(); stop() }()
	write(t, l, inHand, 2)
	write(t, l, held, 2)
	write(t, l, done, 2)
	receive(t, entered)
	eventually(t, "a stream is held", func() bool { return mustShow(t, subscriptions, "g").Failing == 1 })
	was.Store(true)
	if err := subscriptions.Reset(t.Context(), "g", Beginning(), false); err != nil {
		t.Fatal(err)
	}
	if s := mustShow(t, subscriptions, "g"); s.Failing != 0 {
		return fmt.Errorf("after the reset %d streams are held as failing", s.Failing)
	}
	renewedTwice(t, subscriptions) // by then the member knows
	closeKnows()
	if err := receive(t, causes); err != ErrLeaseLost {
		return fmt.Errorf("the context of what was in hand ended with %v, want ErrLeaseLost", err)
	}
	eventually(t, "what is not in hand came again", func() bool { return j.count() >= 4 })
	closeAgain()
	eventually(t, "everything came again", func() bool { return j.count() >= 6 })
	if beside.Load() {
		return errors.New("two messages of a stream were in hand at once")
	}
	for _, s := range []eventstore.Stream{inHand, held, done} {
		if got := j.of(s); !slices.Equal(got, []int64{1, 2}) {
			return fmt.Errorf("after the reset came %v of %s, want 1 and 2", got, s)
		}
	}
	return nil
}

// renewedTwice waits until a group's first member has renewed its lease twice from now on.
func renewedTwice(t *testing.T, subscriptions *Log) {
	t.Helper()
	for range 2 {
		before := mustShow(t, subscriptions, "g").Members
		eventually(t, "the lease is renewed", func() bool {
			now := mustShow(t, subscriptions, "g").Members
			return len(now) > 0 && (len(before) == 0 || now[0].ExpiresAt.After(before[0].ExpiresAt))
		})
	}
}

func TestAResetWhileLeasedBeginsAnew(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := resetInHand(t, subscriptions, l.Pool); err != nil {
		t.Error(err)
	}
}

// TestWhatWasParkedBeforeAResetIsNotParkedAfterIt has a member park a message, a reset come before that is recorded, and the
// member have its slots anew, where the message goes through.
func TestWhatWasParkedBeforeAResetIsNotParkedAfterIt(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	desks(t, subscriptions, "g", 0)
	all, err := l.Store.ReadAll(t.Context(), 0, write(t, l, newStream(), 1), eventstore.Filter{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	var answer error
	tries := 0
	m := subscriptions.newMember(t.Context(), documents("g"), Options{Lease: time.Hour, Replays: true}, func(*delivery) error { tries++; return answer })
	for _, answer = range []error{Permanent(errors.New("no")), nil} {
		if err := subscriptions.Reset(t.Context(), "g", Beginning(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := m.renew(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		m.admit(0, all)
		m.laneWork.Wait()
	}
	if err := m.record(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if parked := mustParked(t, subscriptions, "g"); len(parked) > 0 || tries != 2 {
		t.Errorf("after %d tries, the last of which went through, parked are %+v", tries, parked)
	}
}

// TestNodesTakeTurnsWithoutLosingOrRepeating lets nodes join and leave in good order while messages are written: each
// comes once, in order, and never two of a stream at once.
func TestNodesTakeTurnsWithoutLosingOrRepeating(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	streams := newStreams(60)
	var j journal
	busy := sync.Map{}
	var seats [4]atomic.Int32
	join := func(seat int) func() {
		o := Options{Lease: 30 * time.Second, Concurrency: 8}
		return consume(t, subscriptions, documents("g"), o, func(_ context.Context, e *eventstore.Recorded) error {
			if _, beside := busy.LoadOrStore(e.Stream, seat); beside {
				t.Errorf("two messages of %s were in hand at once", e.Stream)
			}
			defer busy.Delete(e.Stream)
			time.Sleep(200 * time.Microsecond)
			seats[seat].Add(1)
			j.note(e)
			return nil
		})
	}
	first := join(0)
	rounds := 0
	var last int64
	for seat := 1; seat < 4; seat++ {
		leave := join(seat)
		for seats[seat].Load() == 0 {
			last = writeTo(t, l, streams, 1)
			rounds++
		}
		if seat == 2 {
			first()
		}
		if seat != 3 {
			defer leave()
		}
	}
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, rounds)
}

// TestACleanStopHandsItsSlotsOverAtOnce stops one of two whose leases last longer than any test.
func TestACleanStopHandsItsSlotsOverAtOnce(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	o := Options{Lease: time.Hour}
	nothing := func(context.Context, *eventstore.Recorded) error { return nil }
	stop := consume(t, subscriptions, documents("g"), o, nothing)
	consume(t, on(l.Node(t)), documents("g"), o, nothing)
	shares := func(want ...int) func() bool {
		return func() bool {
			var have []int
			for _, m := range mustShow(t, subscriptions, "g").Members {
				have = append(have, m.Slots)
			}
			return slices.Equal(have, want)
		}
	}
	eventually(t, "the two share the slots", shares(Slots/2, Slots/2))
	stop()
	eventually(t, "the other has them all", shares(Slots))
}

// TestASlotIsGivenBackWhenNothingOfItIsInHand has a message of every slot in hand when another node joins, and the first
// of them end before the others. It is one of those to be given back.
func TestASlotIsGivenBackWhenNothingOfItIsInHand(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	streams := oneOfEachSlot()
	entered, first, release := make(chan struct{}, 2*Slots), make(chan struct{}), make(chan struct{})
	var j journal
	busy := sync.Map{}
	handle := func(_ context.Context, e *eventstore.Recorded) error {
		if _, beside := busy.LoadOrStore(e.Stream, true); beside {
			t.Errorf("two messages of %s were in hand at once", e.Stream)
		}
		defer busy.Delete(e.Stream)
		entered <- struct{}{}
		if e.Stream == streams[0] {
			<-first
		} else {
			<-release
		}
		j.note(e)
		return nil
	}
	o := Options{Concurrency: Slots, Lease: fast}
	consume(t, subscriptions, documents("g"), o, handle)
	last := writeTo(t, l, streams, 1)
	for range Slots {
		receive(t, entered)
	}
	consume(t, on(l.Node(t)), documents("g"), o, handle)
	eventually(t, "another node joins", func() bool { return len(mustShow(t, subscriptions, "g").Members) == 2 })
	renewedTwice(t, subscriptions) // by then the first knows
	if n := mustShow(t, subscriptions, "g").Members[1].Slots; n > 0 {
		t.Errorf("the second was given %d slots while all were in hand", n)
	}
	second := func(slots int) func() bool {
		return func() bool {
			all := mustShow(t, subscriptions, "g").Members
			return len(all) == 2 && all[1].Slots == slots
		}
	}
	close(first)
	eventually(t, "the second has the slot where nothing is in hand", second(1))
	close(release)
	eventually(t, "the second has its share", second(Slots/2))
	settled(t, subscriptions, "g", last)
	j.wantInOrder(t, streams, 1)
}

// TestASlotWhoseMessageNobodyAnsweredIsNotGivenBack has another node join while a process stops that gave up waiting for an
// answer: whoever has the message may work on it still, so the slot is the process's until its lease ends.
func TestASlotWhoseMessageNobodyAnsweredIsNotGivenBack(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	all, err := l.Store.ReadAll(t.Context(), 0, write(t, l, stream, 1), eventstore.Filter{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	m := subscriptions.newMember(t.Context(), documents("g"), Options{}, func(*delivery) error { return errUnanswered })
	m.valid.set(time.Now().Add(time.Hour))
	s := grant{hold: hold{Slot: SlotOf(stream)}}.slot()
	m.slots[s.Slot] = s
	m.admit(0, all)
	m.laneWork.Wait()
	if err := m.giveBack(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if m.slots[s.Slot] != s || !s.leaving {
		t.Error("the slot is given to another beside whoever has its message")
	}
}

// oneOfEachSlot returns a stream for every slot.
func oneOfEachSlot() []eventstore.Stream {
	streams := make([]eventstore.Stream, Slots)
	for missing := Slots; missing > 0; {
		s := newStream()
		if n := SlotOf(s); streams[n] == (eventstore.Stream{}) {
			streams[n] = s
			missing--
		}
	}
	return streams
}

// TestARestartOfTheServerIsSurvived restarts the server under two nodes, twice, while messages come and are written.
func TestARestartOfTheServerIsSurvived(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	l := logtest.On(t, server.URL(), Migrations())
	var j journal
	var tries atomic.Int32
	for _, node := range []*logtest.Log{l, l.Node(t)} {
		consume(t, on(node), documents("g"), soon(-1), func(_ context.Context, e *eventstore.Recorded) error {
			tries.Add(1)
			j.note(e)
			return nil
		})
	}
	streams := newStreams(20)
	writeTo(t, l, streams, 10)
	eventually(t, "some messages came", func() bool { return j.count() >= 50 })
	server.Restart()
	eventually(t, "the server answers", func() bool { return l.Pool.Ping(t.Context()) == nil })
	writeTo(t, l, streams, 10)
	server.Kill()
	server.Restart()
	eventually(t, "the server answers again", func() bool { return l.Pool.Ping(t.Context()) == nil })
	settled(t, on(l), "g", writeTo(t, l, streams, 10))
	for _, s := range streams {
		wantNoneSkipped(t, s, j.of(s), 30)
	}
}

// wantNoneSkipped holds that versions 1 to n came in order. One that came before may come again, and then those after it.
func wantNoneSkipped(t *testing.T, s eventstore.Stream, got []int64, n int64) {
	t.Helper()
	var upto int64
	for _, v := range got {
		if v > upto+1 {
			t.Fatalf("%s: version %d came after %d: %v", s, v, upto, got)
		}
		upto = max(upto, v)
	}
	if upto != n {
		t.Fatalf("%s: versions came up to %d, want %d: %v", s, upto, n, got)
	}
}

// TestABatchReadBeforeASlotCameIsNotForIt gives a member a slot while a batch is on its way that begins behind the slot's
// position.
func TestABatchReadBeforeASlotCameIsNotForIt(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	write(t, l, stream, 4)
	horizon, err := l.Store.Horizon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := l.Store.ReadAll(t.Context(), 2, horizon, eventstore.Filter{}, 10)
	if err != nil || len(batch.Events) != 2 {
		t.Fatalf("read %d events, %v; want 2", len(batch.Events), err)
	}
	m := subscriptions.newMember(t.Context(), documents("g"), Options{}, nil)
	s := grant{hold: hold{Slot: SlotOf(stream)}, Position: 1}.slot()
	m.slots[s.Slot] = s
	m.admit(2, batch)
	if s.seen != 1 || len(s.streams) != 0 {
		t.Errorf("the slot has seen up to %d and has %d streams, want 1 and none: what lies between was not read", s.seen, len(s.streams))
	}
	if all, err := l.Store.ReadAll(t.Context(), 1, horizon, eventstore.Filter{}, 10); err != nil {
		t.Fatal(err)
	} else {
		m.admit(1, all)
	}
	if st := s.streams[stream]; s.seen != batch.Upto || st == nil || len(st.queue) != 3 {
		t.Errorf("the slot has seen up to %d, want %d and three messages", s.seen, batch.Upto)
	}
}

// TestNothingIsHandedOutBeyondTheLease has a message wait while the lease is not held, is held, and is over.
func TestNothingIsHandedOutBeyondTheLease(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	last := write(t, l, stream, 1)
	all, err := l.Store.ReadAll(t.Context(), 0, last, eventstore.Filter{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	m := subscriptions.newMember(t.Context(), documents("g"), Options{}, nil)
	m.slots[SlotOf(stream)] = grant{hold: hold{Slot: SlotOf(stream)}}.slot()
	m.admit(0, all)
	m.laneWork.Wait()
	if d := m.first(); d != nil {
		t.Fatal("a message was handed out without a lease")
	}
	m.valid.set(time.Now().Add(time.Minute))
	d := m.first()
	if d == nil {
		t.Fatal("no message was handed out with a lease")
	}
	ctx := &d.ctx
	if err := Live(ctx); err != nil {
		t.Errorf("within the lease: %v", err)
	}
	m.valid.set(time.Now().Add(-time.Second))
	if err := Live(ctx); err != ErrLeaseLost {
		t.Errorf("beyond the lease a handler is told %v, want ErrLeaseLost", err)
	}
	m.sweep(time.Now())
	if err := context.Cause(ctx); err != ErrLeaseLost {
		t.Errorf("beyond the lease the context ended with %v, want ErrLeaseLost", err)
	}
}
