package eventstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/atlas-platform/atlas/internal/fault"
)

// How appends of one process share transactions.
const (
	laneCount  = 256 // far more than there are runs, so that streams seldom share one by chance
	aloneLimit = 8   // appends there may be for each to go by itself
	runLimit   = 2   // runs under way beyond that: one works while the other's commit is flushed
	groupLimit = 256 // members of one group
	groupBytes = 4 << 20
	queueLimit = 16384 // appends that may wait before callers are turned away
)

// lanes bring appends that wait at the same time into one transaction, since what costs most of an append is its
// transaction. While there are few each goes at once and by itself, which is quickest for its caller; beyond that they
// wait for one of two runs, and all that wait then go together. Nobody waits for a timer.
//
// Appends to one stream share a lane, and a lane takes part in one run at a time: so they keep their order, and do not
// meet at the stream's row. Lanes take turns.
type lanes struct {
	store *Store
	seed  maphash.Seed
	limit int // appends that may wait before callers are turned away

	mu       sync.Mutex
	all      [laneCount]lane
	ready    []*lane // where somebody waits and nobody works; in turn
	waiting  int     // appends
	underWay int     // appends
	runs     int     // that carry out groups
}

// lane is a queue, and whether a run works on what was in it.
type lane struct {
	queue  []*member
	active bool
}

// member is one append in a lane.
type member struct {
	st    *statement
	lane  *lane
	taken bool // it is under way and can no longer be given up
	done  chan result
	items []item // what it comes to in a group
}

type result struct {
	outcome Outcome
	err     error
}

func newLanes(s *Store) *lanes { return &lanes{store: s, seed: maphash.MakeSeed(), limit: queueLimit} }

// of returns the lane of a statement: that of its first stream.
func (ls *lanes) of(st *statement) *lane {
	return &ls.all[maphash.String(ls.seed, st.streams[0])%laneCount]
}

// append carries out the statement, alone or with others. A caller that ends while it still waits has appended nothing.
func (ls *lanes) append(ctx context.Context, st *statement) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, fmt.Errorf("append: %w", err)
	}
	m := &member{st: st, lane: ls.of(st)}
	first, err := ls.join(m)
	if err != nil {
		return Outcome{}, err
	}
	if first {
		o, err := ls.store.execute(context.Background(), st, false)
		ls.end(m)
		if err == errBusy {
			return ls.store.execute(context.Background(), st, true) // it may take a while, so not in the lane's time
		}
		return o, err
	}
	select {
	case r := <-m.done:
		return r.outcome, r.err
	case <-ctx.Done():
		if ls.leave(m) {
			return Outcome{}, fmt.Errorf("append: %w", ctx.Err())
		}
		r := <-m.done
		return r.outcome, r.err
	}
}

// join queues the member, or says that it goes at once.
func (ls *lanes) join(m *member) (first bool, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := m.lane
	if !l.active && len(l.queue) == 0 && ls.underWay+ls.waiting < aloneLimit {
		l.active = true
		ls.underWay++
		return true, nil
	}
	if ls.waiting >= ls.limit {
		return false, fault.ErrBusy.RetryAfter(time.Second)
	}
	m.done = make(chan result, 1)
	ls.waiting++
	l.queue = append(l.queue, m)
	if !l.active && len(l.queue) == 1 {
		ls.ready = append(ls.ready, l)
		ls.start()
	}
	return false, nil
}

// leave takes a member out of its lane that is not under way yet.
func (ls *lanes) leave(m *member) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if m.taken {
		return false
	}
	ls.waiting--
	l := m.lane
	l.queue = slices.DeleteFunc(l.queue, func(other *member) bool { return other == m })
	if len(l.queue) == 0 {
		ls.ready = slices.DeleteFunc(ls.ready, func(other *lane) bool { return other == l })
	}
	return true
}

// end frees the lane of a member that went by itself.
func (ls *lanes) end(m *member) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.free(m)
}

// free has the lanes of members that are done ready for those that wait in them. The caller holds the lock.
func (ls *lanes) free(members ...*member) {
	ls.underWay -= len(members)
	for _, m := range members {
		l := m.lane
		if !l.active {
			continue
		}
		l.active = false
		if len(l.queue) > 0 {
			ls.ready = append(ls.ready, l)
			ls.start()
		}
	}
}

// start begins a run, if another one may be under way. The caller holds the lock.
func (ls *lanes) start() {
	if ls.runs < runLimit {
		ls.runs++
		go ls.run()
	}
}

// run carries out what waits, group by group, until nothing does.
func (ls *lanes) run() {
	for {
		ls.gather()
		ls.mu.Lock()
		group := ls.take()
		if len(group) == 0 {
			ls.runs--
			ls.mu.Unlock()
			return
		}
		ls.mu.Unlock()
		ls.store.appendGroup(group)
		ls.mu.Lock()
		ls.free(group...)
		ls.mu.Unlock()
	}
}

// gather lets whoever can run just now come and queue, as long as more do: callers who were told a moment ago that they
// are done are about to come with their next append, and should go with this group and not wait for it to end.
func (ls *lanes) gather() {
	for before := -1; ; {
		runtime.Gosched()
		ls.mu.Lock()
		now := ls.waiting
		ls.mu.Unlock()
		if now == before || now >= groupLimit {
			return
		}
		before = now
	}
}

// take returns the members that go next, lane by lane. The caller holds the lock.
func (ls *lanes) take() (group []*member) {
	bytes := 0
	for len(ls.ready) > 0 && len(group) < groupLimit && bytes < groupBytes {
		l := ls.ready[0]
		ls.ready = ls.ready[1:]
		l.active = true
		taken := 0
		for taken < len(l.queue) && len(group) < groupLimit && bytes < groupBytes {
			m := l.queue[taken]
			m.taken = true
			bytes += m.st.size()
			group = append(group, m)
			taken++
		}
		l.queue = slices.Delete(l.queue, 0, taken)
	}
	ls.waiting -= len(group)
	ls.underWay += len(group)
	return group
}
