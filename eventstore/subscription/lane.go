package subscription

import (
	"errors"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// newerPause is how long a message waits for what its handler cannot mend: a newer node, where this binary does not know
// its shape yet, or the keys of what is sealed in it.
const newerPause = 5 * time.Second

// spawn makes as many lanes as there is work for. Call it with the lock held.
func (m *member) spawn() {
	for n := min(m.options.Concurrency-m.lanes, m.ready.len()); n > 0; n-- {
		m.lanes++
		m.laneWork.Add(1)
		go m.lane()
	}
}

// lane hands out one message after the other, until there is none.
func (m *member) lane() {
	defer m.laneWork.Done()
	for d := m.first(); d != nil; {
		var err error
		if !d.replay || m.options.Replays {
			err = m.handOut(d)
		}
		d = m.next(d, err)
	}
}

// handOut delivers a message as it reads now: whoever it is about may have been forgotten while it waited here.
func (m *member) handOut(d *delivery) error {
	event, err := m.store.Current(&d.ctx, d.event)
	if err != nil {
		m.log.Warn("message waits for the keys of personal data", "stream", d.event.Stream, "error", err)
		return Delay(newerPause)
	}
	if event != d.event {
		m.mu.Lock()
		d.event = event
		m.mu.Unlock()
	}
	return m.deliver(d)
}

// first returns a message to be handed out, as take does.
func (m *member) first() *delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.take()
}

// next takes note of what became of a message, and returns the next one. It takes the lock once for both: beside a handler
// that does little, the lock is what there is to wait for.
func (m *member) next(d *delivery, err error) *delivery {
	d.ctx.end(nil)
	took := d.took()
	m.mu.Lock()
	outcome := m.settle(d, err)
	next := m.take()
	if next != nil {
		m.spawn()
	}
	m.mu.Unlock()
	m.options.Observe(m.desk.group, took, outcome)
	return next
}

// take returns the next message to be handed out, in hand from now on. Nothing is handed out once the lease is over, and
// without work the lane ends. Call it with the lock held.
func (m *member) take() *delivery {
	now := time.Now()
	if m.running.Err() == nil && m.holdsLease(now) {
		for st, more := m.ready.pop(); more; st, more = m.ready.pop() {
			st.place = nowhere
			switch {
			case st.slot.lost, st.slot.leaving:
			case len(st.redo) > 0 && st.redo[0].event == nil: // it came while the stream waited here, and goes first
				m.toLoads(st)
			default:
				return m.pick(st, now)
			}
		}
	}
	m.lanes--
	return nil
}

// pick takes a stream's next message in hand. Call it with the lock held.
func (m *member) pick(st *stream, now time.Time) *delivery {
	d := &delivery{member: m, stream: st, slot: st.slot, attempt: 1, at: len(m.inHand)}
	if !m.offers {
		d.begun.set(now)
	}
	if len(st.redo) > 0 {
		d.redo, d.event, d.attempt = true, st.redo[0].event, st.redo[0].attempts+1
	} else {
		d.event = st.queue[0]
		if st.aside != nil {
			d.attempt = st.aside.attempts + 1
		}
		d.replay = st.slot.replayUpto > 0 && st.slot.replay(d.event)
	}
	d.ctx.of, d.recall = d, m.recall
	st.busy = true
	st.slot.inHand++
	m.inHand = append(m.inHand, d)
	return d
}

// end ends the message's context, for a reason of the member's. Call it with the lock held.
func (d *delivery) end(why error) {
	if d.cut != nil {
		return
	}
	d.cut = why
	d.ctx.end(why)
	if _, taken := d.begun.when(); !taken {
		d.member.recallAll()
	}
}

// recallAll withdraws what is offered and was not taken yet. What may still be handed out is offered again. Call it with
// the lock held.
func (m *member) recallAll() {
	close(m.recall)
	m.recall = make(chan struct{})
}

// letGo takes a message out of those in hand. Call it with the lock held.
func (m *member) letGo(d *delivery) {
	end := len(m.inHand) - 1
	last := m.inHand[end]
	m.inHand[d.at], last.at = last, d.at
	m.inHand[end] = nil
	m.inHand = m.inHand[:end]
}

// settle takes note of what became of a message. Call it with the lock held.
func (m *member) settle(d *delivery, err error) Outcome {
	st, s := d.stream, d.slot
	m.letGo(d)
	if m.idle != nil && len(m.inHand) == 0 {
		close(m.idle)
		m.idle = nil
	}
	st.busy = false
	s.inHand--
	if s.inHand == 0 && (s.leaving || s.lost) {
		m.vacated = m.vacated || s.lost
		m.beat.give()
	}
	if s.lost {
		return CutShort
	}
	if errors.Is(err, errUnanswered) {
		s.unanswered = true
		return CutShort
	}
	outcome := m.judge(d, err)
	m.schedule(st)
	return outcome
}

// judge decides what a handler's answer means for the stream. Call it with the lock held.
func (m *member) judge(d *delivery, err error) Outcome {
	later := delay{}
	switch {
	case err == nil && d.redo:
		m.closeRedo(d, nil)
		return Done
	case err == nil:
		m.pass(d.stream, d.event)
		return Done
	case errors.Is(err, errWithdrawn):
		return Withdrawn
	case d.cut == ErrStopping || d.cut == ErrLeaseLost || errors.Is(err, ErrLeaseLost):
		return CutShort
	case d.redo:
		m.closeRedo(d, err)
		return Parked
	case errors.As(err, &later):
		m.setAside(d.stream, d.event, later, later.after)
		return Delayed
	case errors.Is(err, events.ErrNewer), errors.Is(err, events.ErrUnknown):
		m.setAside(d.stream, d.event, err, newerPause)
		return Delayed
	}
	return m.fail(d, err)
}

// pass goes on behind an event. Call it with the lock held.
func (m *member) pass(st *stream, e *eventstore.Recorded) {
	st.done, st.next = e.Position, e.Version+1
	st.queue[0] = nil
	st.queue = st.queue[1:]
	m.took(-1, -weight(e))
	st.slot.dirty = true
	if a := st.aside; a != nil {
		a.position, a.version, a.attempts, a.err, a.progress = st.done+1, st.next, 0, "", ""
		m.touch(st)
	}
	m.flush.give()
}

// fail counts a failed try, and says when there is another. Call it with the lock held.
func (m *member) fail(d *delivery, err error) Outcome {
	st := d.stream
	if errors.As(err, new(permanent)) || m.options.Retry.last(d.attempt) {
		e := d.event
		m.log.Error("message parked", "stream", e.Stream, "position", e.Position, "type", e.Type, "attempts", d.attempt, "error", err)
		m.parked = append(m.parked, parkedChange{
			Slot: st.slot.Slot, Position: e.Position, Stream: e.Stream.String(), Version: e.Version, Event: e.ID, Type: e.Type,
			Attempts: d.attempt, Error: tidy(err.Error()),
		})
		m.pass(st, e)
		return Parked
	}
	pause := m.options.Retry.pause(d.attempt)
	m.setAside(st, d.event, err, pause)
	st.aside.attempts = d.attempt
	return Failed
}

// setAside lets the slot's position pass a stream, and tries its first message again after a time. What it has in memory
// is given up, since so may many others have. Call it with the lock held.
func (m *member) setAside(st *stream, e *eventstore.Recorded, why error, pause time.Duration) {
	m.hold(st, e)
	a := st.aside
	a.err, a.due = tidy(why.Error()), time.Now().Add(pause)
	for _, queued := range st.queue {
		m.took(-1, -weight(queued))
	}
	st.queue, st.short = nil, true
	m.touch(st)
}

// hold sets a stream aside at its first event that is not done. Call it with the lock held.
func (m *member) hold(st *stream, first *eventstore.Recorded) {
	if st.aside == nil {
		st.aside = &aside{since: time.Now()}
		m.held++
	}
	st.aside.position, st.aside.version = first.Position, first.Version
	m.touch(st)
}

// touch has a stream's row among the held ones written, or removed, with the next flush. Call it with the lock held.
func (m *member) touch(st *stream) {
	m.touched[st] = struct{}{}
	st.slot.dirty = true
	m.flush.give()
}

// closeRedo records how the retry of a parked message went. Call it with the lock held.
func (m *member) closeRedo(d *delivery, err error) {
	st := d.stream
	c := retriedChange{Slot: st.slot.Slot, Position: d.event.Position}
	if err != nil {
		text := tidy(err.Error())
		c.Error = &text
	}
	m.retried = append(m.retried, c)
	st.redo = st.redo[1:]
	st.slot.dirty = true
	m.flush.give()
}

// schedule puts a stream where its next step is taken, and forgets it when there is none. Call it with the lock held.
func (m *member) schedule(st *stream) {
	if st.busy || st.place != nowhere || st.slot.lost || st.slot.leaving {
		return
	}
	switch {
	case len(st.redo) > 0 && st.redo[0].event != nil:
		m.toReady(st)
	case len(st.redo) > 0:
		m.toLoads(st)
	case st.aside != nil && !st.aside.due.IsZero():
		if st.aside.timed != st.aside.due { // once, however many of its events come to be read meanwhile
			st.aside.timed = st.aside.due
			m.timers.add(st)
			m.timer.give()
		}
	case len(st.queue) > 0:
		m.toReady(st)
	case st.short:
		m.toLoads(st)
	default:
		m.forget(st)
	}
}

func (m *member) toReady(st *stream) {
	st.place = inReady
	m.ready.push(st)
}

func (m *member) toLoads(st *stream) {
	st.place = inLoads
	m.loads.push(st)
	m.load.give()
}

// forget lets go of a stream that has caught up. Call it with the lock held.
func (m *member) forget(st *stream) {
	if st.aside != nil {
		st.aside = nil
		m.held--
		m.touch(st)
		m.room.give()
	}
	delete(st.slot.streams, st.name)
}

// took counts messages in memory. Call it with the lock held.
func (m *member) took(messages, bytes int) {
	full := !m.hasRoom()
	m.waiting += messages
	m.bytes += bytes
	if full && m.hasRoom() {
		m.room.give()
		m.load.give()
	}
}

// hasRoom says whether more messages may be read. Call it with the lock held.
func (m *member) hasRoom() bool {
	return m.waiting <= m.options.Window && m.bytes <= memoryMax
}

// weight is about what an event takes in memory, in bytes.
func weight(e *eventstore.Recorded) int { return 512 + len(e.Data()) }
