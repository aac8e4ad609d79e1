package subscription

import (
	"context"
	"maps"
	"slices"
	"time"
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
		if !wait(ctx, m.flush, m.options.idle) {
			return
		}
		what := changed
		if time.Since(last) >= m.options.idle {
			what, last = everything, time.Now()
		}
		if err := m.record(context.WithoutCancel(ctx), what); err != nil && ctx.Err() == nil {
			m.log.Warn("progress not recorded yet", "error", err)
			wait(ctx, nil, flushEvery)
			m.flush.give()
		}
		wait(ctx, nil, flushEvery)
	}
}

// record writes down what was done since the last time: the slots' positions, what is done above them, and the streams
// that are aside, in one transaction. Only then may another member rely on it. What it refuses is another's by now.
func (m *member) record(ctx context.Context, what scope) error {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	m.mu.Lock()
	c, slots, streams := m.collect(what)
	m.mu.Unlock()
	if len(c.Slots) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.options.Lease)
	defer cancel()
	mine, err := m.desk.flush(ctx, c)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.recollect(c, slots, streams)
		return err
	}
	m.lose(slices.DeleteFunc(slots, func(s *slot) bool {
		_, still := slices.BinarySearch(mine, int16(s.Slot))
		return still || s.lost
	})...)
	return nil
}

// collect takes together what there is to record. Call it with the lock held.
func (m *member) collect(what scope) (c change, slots []*slot, streams []*stream) {
	for _, s := range m.slots {
		if s == nil || !s.dirty && (what == changed || s.seen == s.recorded) {
			continue
		}
		s.dirty = false
		s.recorded = s.advance()
		c.Slots = append(c.Slots, slotChange{s.hold, s.recorded, s.above()})
		slots = append(slots, s)
	}
	now := time.Now()
	for st := range m.touched {
		switch {
		case st.slot.lost:
		case st.aside != nil:
			c.Held = append(c.Held, st.heldChange(now))
			st.saved = true
		case st.saved:
			c.Healed = append(c.Healed, healedChange{st.slot.Slot, st.name.String()})
		}
	}
	m.turn++
	c.Turn = m.turn
	streams = slices.Collect(maps.Keys(m.touched))
	clear(m.touched)
	c.Parked, m.parked = m.parked, nil
	c.Retried, m.retried = m.retried, nil
	return c, slots, streams
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

// recollect puts back what could not be recorded, or may have been: recording it twice is the same as once. Call it with
// the lock held.
func (m *member) recollect(c change, slots []*slot, streams []*stream) {
	for _, s := range slots {
		s.dirty = true
	}
	for _, st := range streams {
		m.touched[st] = struct{}{}
	}
	m.parked = append(c.Parked, m.parked...)
	m.retried = append(c.Retried, m.retried...)
}
