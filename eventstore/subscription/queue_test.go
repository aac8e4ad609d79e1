package subscription

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// aLease is longer than any test takes.
const aLease = 10 * time.Minute

// newQueue returns a queue of documents, and the log it is on.
func newQueue(t testing.TB, change ...func(*Queue)) (*logtest.Log, *Log) {
	t.Helper()
	l, subscriptions := newLog(t)
	q := Queue{Definition: documents("q"), Owner: uuid.New(), Retry: Retry{First: time.Millisecond, Max: time.Millisecond}}
	for _, c := range change {
		c(&q)
	}
	if created, err := subscriptions.CreateQueue(t.Context(), q); err != nil || !created {
		t.Fatal(created, err)
	}
	return l, subscriptions
}

// lease leases so many messages, waiting for them, one after the other where they are of one stream only when answered.
func lease(t testing.TB, l *Log, most int) []Leased {
	t.Helper()
	var got []Leased
	eventually(t, "messages are handed out", func() bool {
		more, err := l.Lease(t.Context(), "q", Ask{Most: most - len(got), Lease: aLease, Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, more...)
		return len(got) == most
	})
	return got
}

// nothing fails the test if there is anything to be leased.
func nothing(t testing.TB, l *Log, why string) {
	t.Helper()
	got, err := l.Lease(t.Context(), "q", Ask{Most: 10, Lease: aLease, Wait: 500 * time.Millisecond})
	if err != nil || len(got) > 0 {
		t.Fatalf("%s: got %d messages, %v", why, len(got), err)
	}
}

func answer(t testing.TB, l *Log, a Answer) (counts bool) {
	t.Helper()
	all, err := l.Answer(t.Context(), "q", uuid.Nil, []Answer{a})
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func done(t testing.TB, l *Log, m Leased) {
	t.Helper()
	if !answer(t, l, Answer{Token: m.Token, Done: true}) {
		t.Fatalf("the answer to version %d of %s does not count", m.Event.Version, m.Event.Stream)
	}
}

// place is what a message is known by in the log.
func at(m Leased) int64 { return m.Event.Version }

func TestLeasesComeOneOfEachStreamAndInItsOrder(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	a, b := newStream(), newStream()
	write(t, l, a, 3)
	write(t, l, b, 3)
	for version := int64(1); version <= 3; version++ {
		got := lease(t, q, 2)
		streams := map[eventstore.Stream]int64{}
		for _, m := range got {
			streams[m.Event.Stream] = m.Event.Version
		}
		if diff := cmp.Diff(map[eventstore.Stream]int64{a: version, b: version}, streams); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", version, diff)
		}
		nothing(t, q, "while both streams are leased")
		for _, m := range got {
			done(t, q, m)
		}
	}
	nothing(t, q, "when all is done")
	write(t, l, a, 1)
	if m := lease(t, q, 1)[0]; m.Event.Stream != a || at(m) != 4 || m.Attempt != 1 {
		t.Errorf("got %+v", m)
	}
}

func TestAnAnswerThatComesTwiceCountsAndAnotherDoesNot(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 3)
	first := lease(t, q, 1)[0]
	done(t, q, first)
	second := lease(t, q, 1)[0]
	done(t, q, second)
	done(t, q, first)
	done(t, q, second)
	if answer(t, q, Answer{Token: second.Token, Error: "no"}) {
		t.Error("a failure counts after the message was done")
	}
	if answer(t, q, Answer{Token: uuid.New(), Done: true}) {
		t.Error("a token counts that nobody was given")
	}
	if m := lease(t, q, 1)[0]; at(m) != 3 || m.Attempt != 1 {
		t.Errorf("got version %d at attempt %d", at(m), m.Attempt)
	}
}

// expire ends the leases that are out, as time would.
func expire(t testing.TB, l *logtest.Log) {
	t.Helper()
	const q = `
		WITH queued AS (UPDATE atlas.subscription_queued SET next_at = now() - interval '1 second' WHERE lease IS NOT NULL)
		UPDATE atlas.subscription_leases SET expires_at = now() - interval '1 second'`
	if _, err := l.Pool.Exec(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

func TestAMessageNobodyAnsweredComesAgainAndItsFormerLeaseIsOver(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 2)
	vanished := lease(t, q, 1)[0]
	expire(t, l)
	again := lease(t, q, 1)[0]
	if at(again) != 1 || again.Attempt != 2 || again.Token == vanished.Token {
		t.Errorf("got version %d at attempt %d", at(again), again.Attempt)
	}
	if answer(t, q, Answer{Token: vanished.Token, Done: true}) {
		t.Error("the zombie's answer counts")
	}
	nothing(t, q, "after the zombie's answer")
	if ends, err := q.ExtendLeases(t.Context(), "q", []Extension{{Token: vanished.Token, By: aLease}}); err != nil || len(ends) > 0 {
		t.Errorf("the zombie's lease is extended: %v %v", ends, err)
	}
	done(t, q, again)
	if m := lease(t, q, 1)[0]; at(m) != 2 || m.Attempt != 1 {
		t.Errorf("got version %d at attempt %d", at(m), m.Attempt)
	}
}

// TestALateAnswerCountsWhileNobodyElseHasTheMessage: nothing is gained by having it done twice.
func TestALateAnswerCountsWhileNobodyElseHasTheMessage(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 2)
	late := lease(t, q, 1)[0]
	expire(t, l)
	done(t, q, late)
	if m := lease(t, q, 1)[0]; at(m) != 2 {
		t.Errorf("got version %d", at(m))
	}
}

func TestAnExtendedLeaseLastsLonger(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 1)
	m := lease(t, q, 1)[0]
	halfway := "half way"
	ends, err := q.ExtendLeases(t.Context(), "q", []Extension{{Token: m.Token, By: time.Hour, Progress: &halfway}})
	if err != nil || !ends[m.Token].After(m.Until.Add(30*time.Minute)) {
		t.Errorf("it ends at %v instead of %v, %v", ends[m.Token], m.Until, err)
	}
	shorter, err := q.ExtendLeases(t.Context(), "q", []Extension{{Token: m.Token, By: time.Second}})
	if err != nil || !shorter[m.Token].Equal(ends[m.Token]) {
		t.Errorf("asked for less, it ends at %v instead of %v, %v", shorter[m.Token], ends[m.Token], err)
	}
	if got := query[string](t, l, `SELECT progress FROM atlas.subscription_queued`); len(got) != 1 || got[0] != halfway {
		t.Errorf("progress: %q", got)
	}
}

func TestAFailedMessageHoldsUpItsStreamAlone(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	a, b := newStream(), newStream()
	write(t, l, a, 2)
	failed := lease(t, q, 1)[0]
	long := time.Hour
	if !answer(t, q, Answer{Token: failed.Token, Error: "the provider is down", Delay: &long}) {
		t.Fatal("the failure does not count")
	}
	write(t, l, b, 1)
	other := lease(t, q, 1)[0]
	if other.Event.Stream != b {
		t.Fatalf("got stream %s, want the other one", other.Event.Stream)
	}
	done(t, q, other)
	nothing(t, q, "while the failed message waits")
	mustExec(t, l, `UPDATE atlas.subscription_queued SET next_at = now(), due_at = now()`)
	if m := lease(t, q, 1)[0]; m.Event.Stream != a || at(m) != 1 || m.Attempt != 2 {
		t.Errorf("got version %d of %s at attempt %d", at(m), m.Event.Stream, m.Attempt)
	}
}

func TestAWishForADelayIsNoTry(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, func(q *Queue) { q.Retry.Attempts = 1 })
	write(t, l, newStream(), 1)
	short := time.Millisecond
	for range 3 {
		m := lease(t, q, 1)[0]
		if m.Attempt != 1 || !answer(t, q, Answer{Token: m.Token, Delay: &short}) {
			t.Fatalf("attempt %d", m.Attempt)
		}
	}
	done(t, q, lease(t, q, 1)[0])
}

func TestPoisonIsParkedAndComesBackBeforeTheRest(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, func(q *Queue) { q.Retry.Attempts = 2 })
	stream := newStream()
	write(t, l, stream, 3)
	for attempt := 1; attempt <= 2; attempt++ {
		m := lease(t, q, 1)[0]
		if at(m) != 1 || m.Attempt != attempt {
			t.Fatalf("got version %d at attempt %d, want 1 at %d", at(m), m.Attempt, attempt)
		}
		answer(t, q, Answer{Token: m.Token, Error: "poison"})
	}
	second := lease(t, q, 1)[0]
	if at(second) != 2 {
		t.Fatalf("after the poison came version %d", at(second))
	}
	parked, err := q.Parked(t.Context(), "q", 0, 10)
	if err != nil || len(parked) != 1 || parked[0].Version != 1 || parked[0].Error != "poison" || parked[0].Attempts != 2 {
		t.Fatalf("parked: %+v %v", parked, err)
	}
	if n, err := q.Retry(t.Context(), "q", Which{Error: "pois"}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	nothing(t, q, "while another message of the stream is leased")
	done(t, q, second)
	retried := lease(t, q, 1)[0]
	if at(retried) != 1 || !retried.Retried || retried.Attempt != 3 {
		t.Fatalf("got version %d, retried %t, attempt %d", at(retried), retried.Retried, retried.Attempt)
	}
	done(t, q, retried)
	if m := lease(t, q, 1)[0]; at(m) != 3 || m.Retried {
		t.Errorf("then came version %d", at(m))
	}
	if parked, err := q.Parked(t.Context(), "q", 0, 10); err != nil || len(parked) > 0 {
		t.Errorf("parked still: %+v %v", parked, err)
	}
}

func TestARetryThatFailsStaysParkedAndOneThatIsDiscardedDoesNotCome(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	stream := newStream()
	write(t, l, stream, 1)
	answer(t, q, Answer{Token: lease(t, q, 1)[0].Token, Error: "no use", Permanent: true})
	nothing(t, q, "when all is parked")
	if n, err := q.Retry(t.Context(), "q", Which{}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	answer(t, q, Answer{Token: lease(t, q, 1)[0].Token, Error: "still no use"})
	parked, err := q.Parked(t.Context(), "q", 0, 10)
	if err != nil || len(parked) != 1 || parked[0].Error != "still no use" || parked[0].Attempts != 2 || parked[0].RetryAt != nil {
		t.Fatalf("parked: %+v %v", parked, err)
	}
	nothing(t, q, "after the retry failed")
	if _, err := q.Retry(t.Context(), "q", Which{}); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Discard(t.Context(), "q", Which{}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	nothing(t, q, "after it was discarded")
	if left := query[string](t, l, `SELECT stream FROM atlas.subscription_queued`); len(left) > 0 {
		t.Errorf("streams are left: %v", left)
	}
}

func TestTheLastLeaseThatLapsesParksTheMessage(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, func(q *Queue) { q.Retry.Attempts = 2 })
	write(t, l, newStream(), 2)
	for range 2 {
		if m := lease(t, q, 1)[0]; at(m) != 1 {
			t.Fatalf("got version %d", at(m))
		}
		expire(t, l)
	}
	if m := lease(t, q, 1)[0]; at(m) != 2 || m.Attempt != 1 {
		t.Errorf("got version %d at attempt %d", at(m), m.Attempt)
	}
	parked, err := q.Parked(t.Context(), "q", 0, 10)
	if err != nil || len(parked) != 1 || parked[0].Attempts != 2 {
		t.Errorf("parked: %+v %v", parked, err)
	}
}

func TestAResetTakesLeasesBackAndReplaysOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		replays, effects bool
		again            bool
	}{
		{"a queue without replays", false, false, false},
		{"a queue with replays", true, false, true},
		{"effects are wanted again", false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, q := newQueue(t, func(q *Queue) { q.Replays = c.replays })
			stream := newStream()
			write(t, l, stream, 2)
			done(t, q, lease(t, q, 1)[0])
			leased := lease(t, q, 1)[0]
			if err := q.Reset(t.Context(), "q", Beginning(), c.effects); err != nil {
				t.Fatal(err)
			}
			if answer(t, q, Answer{Token: leased.Token, Done: true}) {
				t.Error("an answer counts after the reset")
			}
			first := lease(t, q, 1)[0]
			want := int64(2)
			if c.again {
				want = 1
			}
			if at(first) != want || first.Replay != (c.replays && !c.effects) {
				t.Fatalf("after the reset came version %d, replay %t; want %d", at(first), first.Replay, want)
			}
			done(t, q, first)
			if c.again {
				second := lease(t, q, 1)[0]
				if at(second) != 2 || second.Replay {
					t.Fatalf("then came version %d, replay %t", at(second), second.Replay)
				}
				done(t, q, second)
			}
			nothing(t, q, "when all is done")
		})
	}
}

func TestAGroupIsAQueueOrNot(t *testing.T) {
	t.Parallel()
	_, q := newQueue(t)
	if err := q.Create(t.Context(), documents("q")); !errors.Is(err, ErrTaken) {
		t.Errorf("a process joins a queue: %v", err)
	}
	if err := q.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	if _, err := q.CreateQueue(t.Context(), Queue{Definition: documents("g"), Owner: uuid.New()}); !errors.Is(err, ErrTaken) {
		t.Errorf("a queue takes a worker's name: %v", err)
	}
	if _, err := q.Lease(t.Context(), "g", Ask{Most: 1, Lease: aLease}); !errors.Is(err, ErrBuiltIn) {
		t.Errorf("a worker's messages are leased: %v", err)
	}
	if _, err := q.Lease(t.Context(), "none", Ask{Most: 1, Lease: aLease}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody's messages are leased: %v", err)
	}
}

func TestAQueueKeepsItsFilterAndItsOwner(t *testing.T) {
	t.Parallel()
	owner := uuid.New()
	_, q := newQueue(t, func(q *Queue) { q.Owner = owner })
	again := Queue{Definition: documents("q"), Owner: owner, Retry: Retry{Attempts: -1}, Replays: true}
	if created, err := q.CreateQueue(t.Context(), again); created || err != nil {
		t.Fatal(created, err)
	}
	got, err := q.Queue(t.Context(), "q")
	if err != nil || got.Retry.Attempts != -1 || !got.Replays || got.Owner != owner {
		t.Errorf("got %+v %v", got, err)
	}
	again.Filter.Types = []string{"document.created"}
	if _, err := q.CreateQueue(t.Context(), again); !errors.Is(err, ErrChanged) {
		t.Errorf("another filter: %v", err)
	}
	again.Owner = uuid.New()
	if _, err := q.CreateQueue(t.Context(), again); !errors.Is(err, ErrTaken) {
		t.Errorf("another owner: %v", err)
	}
	again.Name, again.Filter.Types = "p", []string{"document.written"}
	if _, err := q.CreateQueue(t.Context(), again); !errors.Is(err, ErrDefinition) {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestALeaseThatWaitsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, q := newQueue(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := q.Lease(ctx, "q", Ask{Most: 1, Lease: aLease, Wait: time.Hour})
		ended <- err
	}()
	eventually(t, "it waits", func() bool { return q.feeder("q").waiters() == 1 })
	cancel()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestALeaseWaitsForTheNextEvent(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	came := make(chan []Leased, 1)
	go func() {
		got, err := q.Lease(t.Context(), "q", Ask{Most: 1, Lease: aLease, Wait: time.Hour})
		if err != nil {
			t.Error(err)
		}
		came <- got
	}()
	eventually(t, "it waits", func() bool { return q.feeder("q").waiters() == 1 })
	write(t, l, newStream(), 1)
	if got := receive(t, came); len(got) != 1 {
		t.Errorf("got %d messages", len(got))
	}
}

// TestAGivenQueueIsItsNewOwnersAndKeepsItsPlace gives a queue away with one message done, one leased and one that waits.
func TestAGivenQueueIsItsNewOwnersAndKeepsItsPlace(t *testing.T) {
	t.Parallel()
	former, owner := uuid.New(), uuid.New()
	l, q := newQueue(t, func(q *Queue) { q.Owner = former })
	write(t, l, newStream(), 3)
	done(t, q, lease(t, q, 1)[0])
	out := lease(t, q, 1)[0]
	if from, err := q.Give(t.Context(), "q", owner); err != nil || from != former {
		t.Fatalf("got %v, %v, want what was %v's", from, err, former)
	}
	if _, err := q.Lease(t.Context(), "q", Ask{Owner: former, Most: 1, Lease: aLease}); !errors.Is(err, ErrNotFound) {
		t.Errorf("who gave it away leases: %v", err)
	}
	if _, err := q.Answer(t.Context(), "q", former, []Answer{{Token: out.Token, Done: true}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("who gave it away answers: %v", err)
	}
	if got, err := q.Lease(t.Context(), "q", Ask{Owner: owner, Most: 1, Lease: aLease}); err != nil || len(got) > 0 {
		t.Errorf("what is leased is given to somebody else: %v, %v", got, err)
	}
	if counts, err := q.Answer(t.Context(), "q", owner, []Answer{{Token: out.Token, Done: true}}); err != nil || !counts[0] {
		t.Errorf("the new owner's answer: %v, %v", counts, err)
	}
	if m := lease(t, q, 1)[0]; at(m) != 3 {
		t.Errorf("version %d comes next, want 3", at(m))
	}
	if _, err := q.Give(t.Context(), "nosuch", owner); !errors.Is(err, ErrNotFound) {
		t.Errorf("a queue that there is not: %v", err)
	}
	if err := q.Create(t.Context(), documents("worker")); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Give(t.Context(), "worker", owner); !errors.Is(err, ErrBuiltIn) {
		t.Errorf("a worker of Atlas itself: %v", err)
	}
}
