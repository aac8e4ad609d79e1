package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// leaseOn keeps the member's lease, and its slots at its share: now and then, and at once where the group has changed. What
// is under way when ctx ends is finished: a renewal that was given up could reach the database after the member has left,
// and the slots it takes then would be nobody's for the time of a lease.
func (m *member) leaseOn(ctx context.Context) {
	var known int64
	var renewed time.Time
	for {
		if now := time.Now(); now.Sub(renewed) >= m.options.Lease/5 || m.changedSince(ctx, known) {
			generation, err := m.renew(context.WithoutCancel(ctx), now)
			switch {
			case err == nil:
				known, renewed = generation, now
			case ctx.Err() == nil:
				m.log.Warn("lease not renewed", "error", err)
			}
		}
		if !wait.Until(ctx, m.beat, min(glance, m.options.Lease/5)) {
			return
		}
	}
}

// changedSince says whether somebody joined, left or reset.
func (m *member) changedSince(ctx context.Context, known int64) bool {
	ctx, cancel := context.WithTimeout(ctx, m.options.Lease)
	defer cancel()
	m.mu.Lock()
	urgent := m.leavingIdle() || m.vacated
	m.mu.Unlock()
	if urgent {
		return true
	}
	n, err := m.desk.generation(ctx)
	return err == nil && n != known
}

// renew says that the member lives, takes what it is given, and gives back what is too much.
func (m *member) renew(ctx context.Context, now time.Time) (generation int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Lease)
	defer cancel()
	m.mu.Lock()
	held, busy, paused := m.standing()
	m.mu.Unlock()
	l, err := m.desk.lease(ctx, m.options.Lease, paused, held, busy)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			m.loseAll()
		}
		return 0, err
	}
	m.keep(l, now)
	if err := m.adopt(ctx, l.Taken); err != nil {
		return 0, err
	}
	if err := m.takeRetries(ctx); err != nil {
		return 0, err
	}
	return l.Generation, m.giveBack(ctx, l.Share)
}

// standing returns the member's holds, and the slots it must not take anew since handlers still run there: they may have
// been reset without its knowing yet. Call it with the lock held.
func (m *member) standing() (held []hold, busy []int16, paused string) {
	m.vacated = false
	for _, s := range m.slots {
		if s != nil {
			held = append(held, s.hold)
		}
	}
	for _, d := range m.inHand {
		busy = append(busy, int16(d.slot.Slot))
	}
	return held, busy, m.pausedWhy()
}

// keep goes on with the holds that stand, and drops the others. The lease is counted from before it was asked for, and
// ends a little sooner here than in the database: in between nobody works on its slots.
func (m *member) keep(l leased, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := map[int]bool{}
	for _, n := range l.Kept {
		kept[n] = true
	}
	var gone []*slot
	for _, s := range m.slots {
		if s != nil && !kept[s.Slot] {
			gone = append(gone, s)
		}
	}
	m.lose(gone...)
	m.valid.set(asked.Add(m.options.Lease - m.options.Lease/10))
	m.spawn()
}

// lose drops slots that are another's by now, or were reset. Handlers at work there are told. Call it with the lock held.
func (m *member) lose(gone ...*slot) {
	if len(gone) == 0 {
		return
	}
	inHand := 0
	for _, s := range gone {
		inHand += s.inHand
		m.drop(s)
	}
	m.log.Info("slots lost", "slots", len(gone), "in_hand", inHand)
	for _, d := range m.inHand {
		if d.slot.lost {
			d.end(ErrLeaseLost)
		}
	}
	m.beat.give()
}

func (m *member) loseAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lose(slices.DeleteFunc(slices.Clone(m.slots[:]), func(s *slot) bool { return s == nil })...)
}

// drop forgets a slot and all that is in memory of it: what was not recorded counts for nothing, also if the member is given
// the slot anew. Call it with the lock held.
func (m *member) drop(s *slot) {
	_, m.parked = divide(m.parked, func(c parkedChange) bool { return c.Slot == s.Slot })
	_, m.retried = divide(m.retried, func(c retriedChange) bool { return c.Slot == s.Slot })
	for _, st := range s.streams {
		for _, e := range st.queue {
			m.took(-1, -weight(e))
		}
		if st.aside != nil {
			m.held--
		}
		st.queue = nil
	}
	s.lost = true
	if m.slots[s.Slot] == s {
		m.slots[s.Slot] = nil
	}
	m.room.give()
}

// adopt begins with the slots that were taken.
func (m *member) adopt(ctx context.Context, taken []grant) error {
	if len(taken) == 0 {
		return nil
	}
	slots := make(map[int]*slot, len(taken))
	numbers := make([]int16, 0, len(taken))
	for _, g := range taken {
		slots[g.Slot] = g.slot()
		numbers = append(numbers, int16(g.Slot))
	}
	streams, err := m.desk.streams(ctx, numbers)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range slots {
		m.slots[s.Slot] = s
	}
	for _, h := range streams {
		if err := m.resume(slots[int(h.Slot)], h); err != nil {
			return err
		}
	}
	if from, ok := m.behindMost(); ok && from < m.reading && m.rewind != nil {
		m.rewind()
	}
	m.room.give()
	m.spawn()
	return nil
}

func (g grant) slot() *slot {
	s := &slot{
		hold: g.hold, seen: g.Position, recorded: g.Position, acked: set(g.Acked), streams: map[eventstore.Stream]*stream{},
		replayUpto: g.ReplayUpto, replayAcked: set(g.ReplayAcked), undone: map[string]int64{},
	}
	if len(g.ReplayAcked) > 0 {
		s.replayUpto = max(s.replayUpto, 1)
	}
	return s
}

func set(positions []int64) map[int64]struct{} {
	all := make(map[int64]struct{}, len(positions))
	for _, p := range positions {
		all[p] = struct{}{}
	}
	return all
}

// resume takes up what is stored of a single stream. Call it with the lock held.
func (m *member) resume(s *slot, h heldStream) error {
	if h.Undone {
		s.undone[h.Stream] = h.Position
		return nil
	}
	name, err := eventstore.ParseStream(h.Stream)
	if err != nil {
		return fmt.Errorf("subscription %s: held %w", m.desk.group, err)
	}
	now := time.Now()
	st := &stream{name: name, slot: s, done: h.Position - 1, next: h.Version, seen: max(s.seen, h.Position), short: true, saved: true}
	st.aside = &aside{
		position: h.Position, version: h.Version, attempts: h.Attempts, err: h.Error, progress: h.Progress, since: now.Add(-h.HeldFor),
	}
	if h.NextIn != nil {
		st.aside.due = now.Add(*h.NextIn)
	}
	m.held++
	s.streams[name] = st
	m.schedule(st)
	return nil
}

// redo has a parked message tried once more. Call it with the lock held.
func (m *member) redo(s *slot, name eventstore.Stream, h heldStream) {
	st := s.streams[name]
	if st == nil {
		st = &stream{name: name, slot: s, done: s.seen, next: 1}
		st.seen = st.done
		s.streams[name] = st
	}
	for _, r := range st.redo {
		if r.position == h.Position {
			return
		}
	}
	st.redo = append(st.redo, redo{position: h.Position, version: h.Version, attempts: h.Attempts})
	m.schedule(st)
}

// takeRetries finds the parked messages that are to be tried again.
func (m *member) takeRetries(ctx context.Context) error {
	m.mu.Lock()
	var numbers []int16
	for _, s := range m.slots {
		if s != nil && !s.leaving {
			numbers = append(numbers, int16(s.Slot))
		}
	}
	m.mu.Unlock()
	if len(numbers) == 0 {
		return nil
	}
	found, err := m.desk.retries(ctx, numbers)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range found {
		name, err := eventstore.ParseStream(h.Stream)
		if s := m.slots[h.Slot]; s != nil && err == nil && !m.settled(h.Position) {
			m.redo(s, name, h)
		}
	}
	m.spawn()
	return nil
}

// settled says whether the retry of a parked message is done, and not yet recorded. Call it with the lock held.
func (m *member) settled(position int64) bool {
	return slices.ContainsFunc(m.retried, func(c retriedChange) bool { return c.Position == position })
}

// giveBack lets go of slots beyond the member's share, those first where nothing is in hand. Where something is, no more
// is handed out, and the slot goes when it is done.
func (m *member) giveBack(ctx context.Context, share int) error {
	m.mu.Lock()
	var staying []*slot
	for _, s := range m.slots {
		if s != nil && !s.leaving {
			staying = append(staying, s)
		}
	}
	slices.SortStableFunc(staying, func(a, b *slot) int { return a.inHand - b.inHand })
	for _, s := range staying[:max(len(staying)-share, 0)] {
		s.leaving = true
	}
	any := m.leavingIdle()
	m.mu.Unlock()
	if !any {
		return nil
	}
	if err := m.record(ctx, everything); err != nil {
		return err
	}
	m.mu.Lock()
	var free []hold
	for _, s := range m.slots {
		if s != nil && s.leaving && s.idle() && !s.dirty {
			m.drop(s)
			free = append(free, s.hold)
		}
	}
	m.mu.Unlock()
	return m.desk.release(ctx, free, false)
}

// leavingIdle says whether a slot can be given back. Call it with the lock held.
func (m *member) leavingIdle() bool {
	return slices.ContainsFunc(m.slots[:], func(s *slot) bool { return s != nil && s.leaving && s.idle() })
}

// pausedWhy says why the member reads no further; empty if it does. Call it with the lock held.
func (m *member) pausedWhy() string {
	slots := 0
	for _, s := range m.slots {
		if s != nil {
			slots++
		}
	}
	if most := max(m.options.MaxHeld*slots/Slots, 1); slots > 0 && m.held >= most {
		return fmt.Sprintf("%d streams are set aside, the most this process may have; the log is read on when some have gone through", m.held)
	}
	return ""
}
