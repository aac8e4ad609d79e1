package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

// readOn reads the log, once for all slots the member holds, and again from further back where it is given a slot that
// stands there.
func (m *member) readOn(ctx context.Context) {
	for ctx.Err() == nil {
		reading, from, err := m.beginReading(ctx)
		if err != nil {
			return
		}
		err = m.follow(reading, from)
		switch {
		case reading.Err() != nil, errors.Is(err, eventstore.ErrTailReset):
		case postgres.IsConnectionLost(err), errors.Is(err, eventstore.ErrUnavailable):
			m.log.Warn("subscription waits for the database", "error", err)
			wait.For(reading, time.Second)
		default:
			m.log.Error("subscription cannot read the log", "error", err)
			wait.For(reading, 5*time.Second)
		}
	}
}

// beginReading waits for slots, and returns the position from which the member must read for all of them. The context
// ends when that is not far enough back any more.
func (m *member) beginReading(ctx context.Context) (reading context.Context, from int64, err error) {
	for {
		m.mu.Lock()
		if from, ok := m.behindMost(); ok {
			if m.rewind != nil {
				m.rewind()
			}
			reading, m.rewind = context.WithCancel(ctx)
			m.reading = from
			m.mu.Unlock()
			return reading, from, nil
		}
		m.mu.Unlock()
		if !wait.Until(ctx, m.room, time.Minute) {
			return nil, 0, ctx.Err()
		}
	}
}

// behindMost returns the position of the slot that has seen least. Call it with the lock held.
func (m *member) behindMost() (from int64, ok bool) {
	for _, s := range m.slots {
		if s != nil && !s.leaving && (!ok || s.seen < from) {
			from, ok = s.seen, true
		}
	}
	return from, ok
}

// follow hands what it reads from a position on to the slots, while there is room.
func (m *member) follow(ctx context.Context, from int64) error {
	r := m.tail.From(from, m.filter)
	for {
		if err := m.awaitRoom(ctx); err != nil {
			return err
		}
		batch, err := r.Next(ctx, pageEvents)
		if err != nil {
			return err
		}
		m.admit(from, batch)
		from = batch.Upto
	}
}

// awaitRoom waits while enough messages are in memory, or too many streams are set aside.
func (m *member) awaitRoom(ctx context.Context) error {
	for {
		m.mu.Lock()
		open := m.hasRoom() && m.pausedWhy() == ""
		m.mu.Unlock()
		if open {
			return ctx.Err()
		}
		if !wait.Until(ctx, m.room, time.Second) {
			return ctx.Err()
		}
	}
}

// admit takes in a batch that was read from a position on: each event goes to its stream, if its slot is held and has not
// seen it. A slot that stands before the position was given to the member after the batch was asked for: the batch is
// not for it, since what comes before is still to be read.
func (m *member) admit(from int64, batch eventstore.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range batch.Events {
		s := m.slots[SlotOf(e.Stream)]
		if s != nil && !s.leaving && s.seen >= from && e.Position > s.seen {
			m.enter(s, e)
		}
	}
	m.reading = max(m.reading, batch.Upto)
	for _, s := range m.slots {
		if s != nil && !s.leaving && s.seen >= from && batch.Upto > s.seen {
			s.seen = batch.Upto
		}
	}
	m.spawn()
}

// enter takes one event in. Call it with the lock held.
func (m *member) enter(s *slot, e *eventstore.Recorded) {
	if _, acked := s.acked[e.Position]; acked {
		delete(s.acked, e.Position)
		s.window.push(entry{position: e.Position})
		return
	}
	st := s.streams[e.Stream]
	if st == nil {
		st = &stream{name: e.Stream, slot: s, done: e.Position - 1, next: e.Version}
		s.streams[e.Stream] = st
	}
	s.window.push(entry{e.Position, st})
	if e.Position <= st.done || e.Position <= st.seen {
		return
	}
	st.seen = e.Position
	if !st.short && len(st.queue) >= queueMax {
		st.short = true // the rest is read when these are done; until then it must not hold up others
		if st.aside == nil {
			m.hold(st, st.queue[0])
		}
	}
	if !st.short {
		st.queue = append(st.queue, e)
		m.took(1, weight(e))
	}
	m.schedule(st)
}

// loadOn reads on in streams that have more in the log than in memory.
func (m *member) loadOn(ctx context.Context) {
	for ctx.Err() == nil {
		batch := m.nextLoads()
		if len(batch) == 0 {
			if !wait.Until(ctx, m.load, time.Second) {
				return
			}
			continue
		}
		if err := m.loadStreams(ctx, batch); err != nil && ctx.Err() == nil {
			m.log.Warn("held streams not read", "error", err)
			wait.For(ctx, time.Second)
		}
	}
}

// nextLoads returns streams to be read on in, unless enough is in memory.
func (m *member) nextLoads() (batch []*stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting > 2*m.options.Window || m.bytes > 2*memoryMax {
		return nil
	}
	for len(batch) < loadMany {
		st, more := m.loads.pop()
		if !more {
			break
		}
		st.place = nowhere
		if !st.slot.lost && !st.slot.leaving && !st.busy {
			batch = append(batch, st)
			st.place = inLoads // and in no other list meanwhile
		}
	}
	return batch
}

// loadStreams reads on in streams. Whatever happens, they are scheduled anew.
func (m *member) loadStreams(ctx context.Context, batch []*stream) error {
	cursors := make([]eventstore.Cursor, len(batch))
	m.mu.Lock()
	for i, st := range batch {
		cursors[i] = eventstore.Cursor{Stream: st.name, FromVersion: st.next, After: st.done, Upto: st.seen}
		if len(st.redo) > 0 {
			r := st.redo[0]
			cursors[i] = eventstore.Cursor{Stream: st.name, FromVersion: r.version, After: r.position - 1, Upto: r.position}
		}
	}
	m.mu.Unlock()
	found, complete, err := m.store.ReadStreams(ctx, cursors, m.filter, loadEvents)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, st := range batch {
		n := 0
		for n < len(found) && found[n].Stream == st.name {
			n++
		}
		st.place = nowhere
		if err == nil && !st.slot.lost {
			m.loaded(st, cursors[i], found[:n], complete[i])
		}
		found = found[n:]
		m.schedule(st)
	}
	m.spawn()
	return err
}

// loaded takes in what was read of a stream. Call it with the lock held.
func (m *member) loaded(st *stream, asked eventstore.Cursor, found []*eventstore.Recorded, complete bool) {
	if len(st.redo) > 0 && asked.Upto == st.redo[0].position {
		if len(found) > 0 {
			st.redo[0].event = found[0]
		} else if complete {
			st.redo = st.redo[1:] // it is not in the log; the dead letter stays
		}
		return
	}
	if asked.After != st.done || len(st.queue) > 0 {
		return
	}
	for _, e := range found {
		m.took(1, weight(e))
	}
	st.queue = append(st.queue, found...)
	if complete && st.seen == asked.Upto {
		st.short = false
		if len(found) == 0 {
			st.done = asked.Upto
		}
	}
}
