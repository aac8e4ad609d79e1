package subscription

import (
	"container/heap"
	"context"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// timers are the streams that wait for a time, the earliest first. One that was given another time since is left in, and
// ignored when its turn comes.
type timers struct{ dueHeap }

type due struct {
	at time.Time
	of *stream
}

func (t *timers) add(st *stream) { heap.Push(&t.dueHeap, due{st.aside.due, st}) }

// expired returns the streams whose time has come, and how long it is to the next.
func (t *timers) expired(now time.Time) (come []*stream, next time.Duration) {
	for len(t.dueHeap) > 0 {
		first := t.dueHeap[0]
		if first.at.After(now) {
			return come, first.at.Sub(now)
		}
		heap.Pop(&t.dueHeap)
		if a := first.of.aside; a != nil && a.due.Equal(first.at) {
			come = append(come, first.of)
		}
	}
	return come, time.Hour
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(v any)        { *h = append(*h, v.(due)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	(*h)[last] = due{}
	*h = (*h)[:last]
	return v
}

// retryOn tries streams again when their time has come.
func (m *member) retryOn(ctx context.Context) {
	for {
		m.mu.Lock()
		come, next := m.timers.expired(time.Now())
		for _, st := range come {
			st.aside.due = time.Time{}
			m.schedule(st)
		}
		m.spawn()
		m.mu.Unlock()
		if !wait.Until(ctx, m.timer, next) {
			return
		}
	}
}

// sweepOn ends what is in hand for too long, or beyond the lease, and sets aside what takes long.
func (m *member) sweepOn(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.sweep(time.Now())
		}
	}
}

func (m *member) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	over := !m.holdsLease(now)
	for _, d := range m.inHand {
		begun, taken := d.begun.when()
		switch st := d.stream; {
		case over:
			d.end(ErrLeaseLost)
		case !taken:
		case d.late(begun, now):
			d.end(ErrTimeLimit)
		case now.Sub(begun) > m.options.slow && !d.redo && !d.slot.lost && st.aside == nil:
			m.hold(st, d.event)
			st.aside.progress = d.progress
		}
	}
}
