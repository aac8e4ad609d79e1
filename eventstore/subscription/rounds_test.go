package subscription

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
)

// holdUp keeps everybody from leasing and answering until the function it returns is called.
func holdUp(t *testing.T, l *logtest.Log) (release func()) {
	t.Helper()
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM atlas.subscription_slots WHERE subscription = 'q' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	return func() { tx.Rollback(context.Background()) }
}

// takenIn returns when so many streams of the queue wait to be leased.
func takenIn(t *testing.T, l *logtest.Log, q *Log, streams int64) {
	t.Helper()
	eventually(t, "the log is taken in", func() bool {
		q.feeder("q").await(t.Context(), 10*time.Millisecond)
		return query[int64](t, l, `SELECT count(*) FROM atlas.subscription_queued`)[0] == streams
	})
}

// standing returns how many calls wait for a round, and how many rounds are under way.
func standing[K comparable, C any](r *rounds[K, C]) (waiting, underWay int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.counters {
		waiting, underWay = waiting+len(at.waiting), underWay+at.rounds
	}
	return waiting, underWay
}

// tally is how many rounds of a kind there were, of how many calls.
type tally struct{ rounds, calls atomic.Int64 }

// counted counts the rounds of a kind from now on.
func counted[K comparable, C any](r *rounds[K, C]) *tally {
	var n tally
	carry := r.carry
	r.carry = func(key K, calls []C) {
		n.rounds.Add(1)
		n.calls.Add(int64(len(calls)))
		carry(key, calls)
	}
	return &n
}

func TestWhoAsksAtTheSameTimeGoesTogether(t *testing.T) {
	t.Parallel()
	const workers = 300
	l, q := newQueue(t)
	for range workers {
		write(t, l, newStream(), 1)
	}
	takenIn(t, l, q, workers)
	leases, answers := counted(q.leases), counted(q.answers)
	var mu sync.Mutex
	var tokens []uuid.UUID
	together := func(what string, n *tally, do func() error, waiting func() (int, int)) {
		t.Helper()
		release := holdUp(t, l)
		defer release()
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
		}
		eventually(t, what+" wait", func() bool {
			calls, underWay := waiting()
			return underWay == roundsAtOnce && calls+int(n.calls.Load()) == workers
		})
		release()
		all.Wait()
	}
	together("asks", leases, func() error {
		got, err := q.Lease(t.Context(), "q", Ask{Most: 1, Lease: aLease})
		mu.Lock()
		defer mu.Unlock()
		for _, m := range got {
			tokens = append(tokens, m.Token)
		}
		return err
	}, func() (int, int) { return standing(q.leases) })
	if len(tokens) != workers {
		t.Fatalf("%d workers were given %d messages", workers, len(tokens))
	}
	var next atomic.Int64
	together("answers", answers, func() error {
		counts, err := q.Answer(t.Context(), "q", uuid.Nil, []Answer{{Token: tokens[next.Add(1)-1], Done: true}})
		if err == nil && !counts[0] {
			err = errors.New("an answer does not count")
		}
		return err
	}, func() (int, int) { return standing(q.answers) })
	const most = roundsAtOnce + 1 // those under way, and one of all that waited
	if a, b := leases.rounds.Load(), answers.rounds.Load(); a > most || b > most {
		t.Errorf("it took %d rounds to lease and %d to answer, want %d at most", a, b, most)
	}
	eventually(t, "nobody is left at the counters", func() bool {
		_, a := standing(q.leases)
		_, b := standing(q.answers)
		return a == 0 && b == 0 && len(q.leases.counters) == 0 && len(q.answers.counters) == 0
	})
	nothing(t, q, "all are done")
}

// TestWhatWasLeasedForWhoHungUpIsAnothersAtOnce: one caller hangs up while its round is under way, one before.
func TestWhatWasLeasedForWhoHungUpIsAnothersAtOnce(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 1)
	takenIn(t, l, q, 1)
	release := holdUp(t, l)
	defer release()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	ended := make(chan error, roundsAtOnce+1)
	ask := func() {
		_, err := q.leaseNow(ctx, "q", Ask{Most: 1, Lease: aLease})
		ended <- err
	}
	for n := range roundsAtOnce {
		go ask()
		eventually(t, "a round is under way", func() bool {
			waiting, underWay := standing(q.leases)
			return waiting == 0 && underWay == n+1
		})
	}
	go ask()
	eventually(t, "the last caller waits for a round", func() bool {
		waiting, _ := standing(q.leases)
		return waiting == 1
	})
	hangUp()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits and hangs up got %v", err)
	}
	release()
	for range roundsAtOnce {
		if err := receive(t, ended); !errors.Is(err, context.Canceled) {
			t.Errorf("whose round is under way and hangs up got %v", err)
		}
	}
	if m := lease(t, q, 1)[0]; m.Attempt != 1 {
		t.Errorf("nobody was given the message, and it is attempt %d", m.Attempt)
	}
}

func TestAnswersOfOneLeaseThatGoTogetherAreTheSameOrDoNotCount(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	write(t, l, newStream(), 2)
	m := lease(t, q, 1)[0]
	release := holdUp(t, l)
	defer release()
	counts := make(chan bool)
	give := func(a Answer) {
		a.Token = m.Token
		all, err := q.Answer(t.Context(), "q", uuid.Nil, []Answer{a})
		if err != nil {
			t.Error(err)
		}
		counts <- err == nil && all[0]
	}
	for n := range roundsAtOnce { // which keeps the rest together
		go func() {
			all, err := q.Answer(t.Context(), "q", uuid.Nil, []Answer{{Token: uuid.New(), Done: true}})
			if err != nil {
				t.Error(err)
			}
			counts <- err != nil || all[0]
		}()
		eventually(t, "a round is under way", func() bool {
			waiting, underWay := standing(q.answers)
			return waiting == 0 && underWay == n+1
		})
	}
	for n, a := range []Answer{{Done: true}, {Done: true}, {Error: "no"}} {
		go give(a)
		eventually(t, "the answer waits", func() bool {
			waiting, _ := standing(q.answers)
			return waiting == n+1
		})
	}
	release()
	n := 0
	for range roundsAtOnce + 3 {
		if receive(t, counts) {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d answers count, want the first and its repetition", n)
	}
	if m := lease(t, q, 1)[0]; at(m) != 2 {
		t.Errorf("version %d comes next, want 2", at(m))
	}
}
