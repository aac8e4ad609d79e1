package eventstore

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/atlas-platform/atlas/internal/fault"
)

// How appends of one process share transactions.
const (
	laneCount  = 4   // groups under way at once; each takes a connection
	groupLimit = 256 // members of one group
	groupBytes = 4 << 20
	queueLimit = 4096 // appends that may wait in one lane before callers are turned away
)

// lanes bring appends that wait at the same time into one transaction, since what costs most of an append is its
// commit. An append alone in its lane goes at once and by itself; while it is under way others queue, and whoever queues
// when it is done goes together. Nobody waits for a timer. Appends to one stream share a lane, in order.
type lanes struct {
	store *Store
	all   [laneCount]lane
}

// lane is a queue, and whether somebody is working on it.
type lane struct {
	mu     sync.Mutex
	queue  []*member
	active bool
}

// member is one append in a lane.
type member struct {
	st     *statement
	queued time.Time
	taken  bool // it is under way and can no longer be given up
	done   chan result
}

type result struct {
	outcome Outcome
	err     error
}

func newLanes(s *Store) *lanes { return &lanes{store: s} }

// of returns the lane of a statement: that of its first stream.
func (ls *lanes) of(st *statement) *lane {
	h := fnv.New32a()
	h.Write([]byte(st.streams[0]))
	return &ls.all[h.Sum32()%laneCount]
}

// append carries out the statement, alone or with others. A caller that ends while it still waits has appended nothing.
func (ls *lanes) append(ctx context.Context, st *statement) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, fmt.Errorf("append: %w", err)
	}
	l := ls.of(st)
	m := &member{st: st, queued: time.Now(), done: make(chan result, 1)}
	first, err := l.join(m)
	if err != nil {
		return Outcome{}, err
	}
	if first {
		o, err := ls.store.execute(context.Background(), st, false)
		ls.proceed(l)
		if err == errBusy {
			return ls.store.execute(context.Background(), st, true) // it may take a while, so not in the lane's time
		}
		return o, err
	}
	select {
	case r := <-m.done:
		return r.outcome, r.err
	case <-ctx.Done():
		if l.leave(m) {
			return Outcome{}, fmt.Errorf("append: %w", ctx.Err())
		}
		r := <-m.done
		return r.outcome, r.err
	}
}

// join queues the member, or says that it is the first and has the lane to itself.
func (l *lane) join(m *member) (first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.active {
		l.active = true
		return true, nil
	}
	if len(l.queue) >= queueLimit {
		return false, fault.ErrBusy.RetryAfter(time.Second)
	}
	l.queue = append(l.queue, m)
	return false, nil
}

// leave takes a member out of the queue that is not under way yet.
func (l *lane) leave(m *member) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.taken {
		return false
	}
	l.queue = slices.DeleteFunc(l.queue, func(other *member) bool { return other == m })
	return true
}

// take returns the members that go next. Without any the lane is free.
func (l *lane) take() (group []*member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := 0
	for len(l.queue) > 0 && len(group) < groupLimit && bytes < groupBytes {
		m := l.queue[0]
		l.queue = l.queue[1:]
		m.taken = true
		bytes += m.st.size()
		group = append(group, m)
	}
	l.active = len(group) > 0
	return group
}

// proceed works on what has queued, in the background, until nothing does.
func (ls *lanes) proceed(l *lane) {
	group := l.take()
	if len(group) == 0 {
		return
	}
	go func() {
		for ; len(group) > 0; group = l.take() {
			ls.store.appendGroup(group)
		}
	}()
}
