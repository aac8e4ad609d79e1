package subscription

import (
	"context"
	"slices"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// scope is how much a flush records.
type scope int

const (
	changed    scope = iota // slots where something was done
	everything              // and those that have merely seen more of the log
)

// flushOn records what is done, soon after it is, and now and then how far the log was read. What is under way when ctx
// ends is finished.
func (m *member) flushOn(ctx context.Context) {
	last := time.Now()
	for {
		if !wait.Until(ctx, m.flush, m.options.idle) {
			return
		}
		what := changed
		if time.Since(last) >= m.options.idle {
			what, last = everything, time.Now()
		}
		if err := m.record(context.WithoutCancel(ctx), what); err != nil && ctx.Err() == nil {
			m.log.Warn("progress not recorded yet", "error", err)
			wait.For(ctx, flushEvery)
			m.flush.give()
		}
		wait.For(ctx, flushEvery)
	}
}

// record writes down what was done since the last time: the slots' positions, what is done above them, and the streams
// that are aside. Only then may another member rely on it. What it refuses is another's by now.
//
// It takes the slots one after the other, and as many in one transaction as bring no more than flushRows rows with them:
// where thousands of streams fail at once and the database is slow, all of them together might never be done in time.
func (m *member) record(ctx context.Context, what scope) (err error) {
	for next := 0; next < Slots && err == nil; {
		next, err = m.recordFrom(ctx, what, next)
	}
	return err
}

// recordFrom records slots from one on, in one transaction, and returns the first that it has left.
func (m *member) recordFrom(ctx context.Context, what scope, from int) (next int, err error) {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	m.mu.Lock()
	c, slots, streams, next := m.collect(what, from)
	m.mu.Unlock()
	if len(c.Slots) == 0 {
		return next, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.options.Lease)
	defer cancel()
	mine, err := m.desk.flush(ctx, c)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.recollect(c, slots, streams)
		return next, err
	}
	m.lose(slices.DeleteFunc(slots, func(s *slot) bool {
		_, still := slices.BinarySearch(mine, int16(s.Slot))
		return still || s.lost
	})...)
	return next, nil
}

// collect takes together what there is to record of slots from one on, and returns the first that it has left. Call it
// with the lock held.
func (m *member) collect(what scope, from int) (c change, slots []*slot, streams []*stream, next int) {
	next = m.reach(from)
	for _, s := range m.slots[from:next] {
		if s == nil || !s.dirty && (what == changed || s.seen == s.recorded) {
			continue
		}
		s.dirty = false
		s.recorded = s.advance()
		c.Slots = append(c.Slots, slotChange{s.hold, s.recorded, s.above()})
		slots = append(slots, s)
	}
	among := func(slot int) bool { return from <= slot && slot < next }
	now := time.Now()
	for st := range m.touched {
		if !among(st.slot.Slot) {
			continue
		}
		switch {
		case st.slot.lost:
		case st.aside != nil:
			c.Held = append(c.Held, st.heldChange(now))
			st.saved = true
		case st.saved:
			c.Healed = append(c.Healed, healedChange{st.slot.Slot, st.name.String()})
		}
		streams = append(streams, st)
		delete(m.touched, st)
	}
	m.turn++
	c.Turn = m.turn
	c.Parked, m.parked = divide(m.parked, func(p parkedChange) bool { return among(p.Slot) })
	c.Retried, m.retried = divide(m.retried, func(r retriedChange) bool { return among(r.Slot) })
	return c, slots, streams, next
}

// reach returns the slot before which to end, so that those from one on, one at least, bring no more than flushRows rows.
// Call it with the lock held.
func (m *member) reach(from int) int {
	var rows [Slots]int
	for st := range m.touched {
		rows[st.slot.Slot]++
	}
	for _, p := range m.parked {
		rows[p.Slot]++
	}
	for _, r := range m.retried {
		rows[r.Slot]++
	}
	next, sum := from+1, rows[from]
	for next < Slots && sum+rows[next] <= flushRows {
		sum += rows[next]
		next++
	}
	return next
}

// divide returns those of which something holds, and the others, in their order.
func divide[T any](all []T, holds func(T) bool) (these, others []T) {
	for _, v := range all {
		if holds(v) {
			these = append(these, v)
		} else {
			others = append(others, v)
		}
	}
	return these, others
}

func (st *stream) heldChange(now time.Time) heldChange {
	a := st.aside
	c := heldChange{
		Slot: st.slot.Slot, Stream: st.name.String(), Position: a.position, Version: a.version,
		Attempts: a.attempts, Error: a.err, Progress: a.progress, HeldMS: now.Sub(a.since).Milliseconds(),
	}
	if !a.due.IsZero() {
		next := a.due.Sub(now).Milliseconds()
		c.NextMS = &next
	}
	return c
}

// recollect puts back what could not be recorded, or may have been: recording it twice is the same as once. What is of slots
// that were dropped meanwhile is not. Call it with the lock held.
func (m *member) recollect(c change, slots []*slot, streams []*stream) {
	lost := map[int]bool{}
	for _, s := range slots {
		s.dirty = true
		lost[s.Slot] = s.lost
	}
	_, c.Parked = divide(c.Parked, func(p parkedChange) bool { return lost[p.Slot] })
	_, c.Retried = divide(c.Retried, func(r retriedChange) bool { return lost[r.Slot] })
	for _, st := range streams {
		m.touched[st] = struct{}{}
	}
	m.parked = append(c.Parked, m.parked...)
	m.retried = append(c.Retried, m.retried...)
}
