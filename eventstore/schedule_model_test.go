package eventstore_test

import (
	"fmt"
	"slices"
)

// claims says what is wrong with what the readers found, given what the log holds of the schedule's streams in the end:
//   - within a stream, versions have no holes and follow the order of positions;
//   - whatever a reader found up to its horizon is exactly what is there in the end: it missed nothing there, and
//     nothing can appear below its checkpoint later;
//   - nothing lies at or below the checkpoint that everybody started from.
//
// Since each reading starts where the one before stopped, no reader misses, repeats or reorders anything.
func claims(base, version int64, truth []found, actors []*actor) error {
	versions := map[string]int64{}
	for _, f := range truth {
		if versions[f.stream]++; f.version != version+versions[f.stream] {
			return fmt.Errorf("position %d holds version %d of a stream, want %d", f.position, f.version, version+versions[f.stream])
		}
		if f.position <= base {
			return fmt.Errorf("an event came to lie at %d, though the log was final up to %d before", f.position, base)
		}
	}
	for _, a := range actors {
		for _, r := range a.readings {
			want := between(truth, r.after, r.horizon)
			if !slices.Equal(r.events, want) {
				return fmt.Errorf("reader %d found %v in (%d, %d], which holds %v in the end", a.number, r.events, r.after, r.horizon, want)
			}
		}
	}
	return nil
}

func between(all []found, after, upto int64) (some []found) {
	for _, f := range all {
		if f.position > after && f.position <= upto {
			some = append(some, f)
		}
	}
	return some
}

// model is the protocol on paper: a sequence, the fences that are held, and the rows that are visible.
type model struct {
	end     int64
	tags    map[*actor]int64
	held    map[*actor]int64
	drew    map[*actor][]int64
	visible map[int64]bool
	ceiling map[*actor]int64
	low     map[*actor]int64
	read    map[*actor]int
}

// predict replays the moves on paper and says where the database did otherwise. So a horizon is neither too high nor
// lower than it need be.
func predict(base int64, moves []move) error {
	m := model{
		end: base, tags: map[*actor]int64{}, held: map[*actor]int64{}, drew: map[*actor][]int64{},
		visible: map[int64]bool{}, ceiling: map[*actor]int64{}, low: map[*actor]int64{}, read: map[*actor]int{},
	}
	for _, mv := range moves {
		if err := m.play(mv.actor, mv.step); err != nil {
			return fmt.Errorf("actor %d, %s: %w", mv.actor.number, mv.step.name, err)
		}
	}
	return nil
}

func (m *model) play(a *actor, st step) error {
	if st.effect&readsEnd != 0 {
		m.tags[a], m.ceiling[a] = m.end, m.end
	}
	if st.effect&draws != 0 {
		m.end++
		m.drew[a] = append(m.drew[a], m.end)
	}
	if st.effect&fences != 0 {
		m.held[a] = m.tags[a]
	}
	if st.effect&ends != 0 {
		delete(m.held, a)
		return m.finish(a, st)
	}
	if st.effect&readsFences != 0 {
		m.low[a] = m.lowest()
	}
	if st.effect&readsEvents != 0 {
		return m.reading(a)
	}
	return nil
}

func (m *model) lowest() int64 {
	low := int64(1) << 62
	for _, tag := range m.held {
		low = min(low, tag)
	}
	return low
}

// finish makes visible what a commit does: what was inserted since the last rollback, which is the last position drawn.
func (m *model) finish(a *actor, st step) error {
	drew := m.drew[a]
	if st.name != commit.name || len(drew) == 0 {
		return nil
	}
	last := drew[len(drew)-1]
	if got := a.drawn[len(a.drawn)-1]; got != last {
		return fmt.Errorf("drew %d, want %d", got, last)
	}
	m.visible[last] = true
	return nil
}

func (m *model) reading(a *actor) error {
	r := a.readings[m.read[a]]
	m.read[a]++
	horizon := min(m.ceiling[a], m.low[a])
	if r.horizon != horizon {
		return fmt.Errorf("read up to %d, want %d", r.horizon, horizon)
	}
	seen := 0
	for p := range m.visible {
		if p > r.after && p <= horizon {
			seen++
		}
	}
	if seen != len(r.events) {
		return fmt.Errorf("found %d events in (%d, %d], want %d", len(r.events), r.after, horizon, seen)
	}
	return nil
}
