package subscription

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// otherNode returns the subscriptions of another process on the same log, with a tail of its own.
func otherNode(t testing.TB, l *logtest.Log) *Log {
	t.Helper()
	waker := eventstore.NewWaker(l.Store, quiet)
	tail := eventstore.NewTail(l.Store, waker, quiet)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = waker.Run(ctx) })
	running.Go(func() { _ = tail.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return New(l.Pool, l.Store, tail, testLogger())
}

// ledger is what the workers of a queue did.
type ledger struct {
	t testing.TB

	mu    sync.Mutex
	done  map[eventstore.Stream]int64 // the last version that counted
	open  map[eventstore.Stream]int   // leases that are out, and good
	total int
}

func newLedger(t testing.TB) *ledger {
	return &ledger{t: t, done: map[eventstore.Stream]int64{}, open: map[eventstore.Stream]int{}}
}

// took notes that a message was handed out. Nobody else must have one of the stream, and what is before it must be done.
func (g *ledger) took(m Leased) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[m.Event.Stream]++; g.open[m.Event.Stream] > 1 {
		g.t.Errorf("two messages of %s are leased at once", m.Event.Stream)
	}
	if want := g.done[m.Event.Stream] + 1; m.Event.Version != want {
		g.t.Errorf("version %d of %s was handed out, want %d", m.Event.Version, m.Event.Stream, want)
	}
}

// gave notes that a message is about to be answered.
func (g *ledger) gave(m Leased, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[m.Event.Stream]--
	if done {
		g.done[m.Event.Stream] = m.Event.Version
		g.total++
	}
}

func (g *ledger) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// TestWorkersOnTwoNodesShareAQueue has eight of them lease at either node and answer at either, some of it with failures,
// while events are written: nothing is lost, nothing comes out of order in its stream, never are two of one stream leased.
func TestWorkersOnTwoNodesShareAQueue(t *testing.T) {
	t.Parallel()
	const streams, each = 100, 30
	l, here := newQueue(t, func(q *Queue) { q.Retry.Attempts = -1 })
	nodes := []*Log{here, otherNode(t, l)}
	g := newLedger(t)
	ctx, stop := context.WithTimeout(t.Context(), 3*patience)
	defer stop()
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for g.count() < streams*each && ctx.Err() == nil && !t.Failed() {
				got, err := nodes[i%2].Lease(ctx, "q", Ask{Most: 1 + rand.IntN(20), Lease: aLease, Wait: time.Second})
				if err != nil {
					t.Error(err)
					return
				}
				answers := make([]Answer, len(got))
				for j, m := range got {
					g.took(m)
					answers[j] = Answer{Token: m.Token, Done: rand.IntN(20) > 0, Error: "not this time"}
				}
				for j, m := range got {
					g.gave(m, answers[j].Done)
				}
				counts, err := nodes[rand.IntN(2)].Answer(ctx, "q", uuid.Nil, answers)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range counts {
					if !counts[j] {
						t.Errorf("the answer to version %d of %s does not count", got[j].Event.Version, got[j].Event.Stream)
					}
				}
			}
		})
	}
	all := make([]eventstore.Stream, streams)
	for i := range all {
		all[i] = newStream()
	}
	for range each / 3 {
		for _, s := range all {
			write(t, l, s, 3)
		}
	}
	workers.Wait()
	if got := g.count(); got != streams*each {
		t.Errorf("%d messages were done, want %d", got, streams*each)
	}
	nothing(t, here, "when all is done")
	if left := query[string](t, l, `SELECT stream FROM atlas.subscription_queued`); len(left) > 0 {
		t.Errorf("%d streams are left", len(left))
	}
}

// TestAQueueThatIsFullReadsNoFurther: a provider that is down must not fill the table.
func TestAQueueThatIsFullReadsNoFurther(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t)
	q.maxQueued = 5
	for range 5 {
		write(t, l, newStream(), 1)
	}
	got := lease(t, q, 5)
	for range 3 {
		write(t, l, newStream(), 1)
	}
	nothing(t, q, "while it is full")
	status, err := q.Show(t.Context(), "q")
	if err != nil || status.Owner == nil || !status.Full || status.Held != 5 || status.Leased != 5 {
		t.Errorf("status %+v %v", status, err)
	}
	done(t, q, got[0])
	lease(t, q, 3)
}
