package eventstore

import (
	"bytes"

	"github.com/google/uuid"
)

// evaluate goes through the members in order, each on what the one before leaves, and decides which are written. A
// member whose stream is not at its expected version, or whose command was carried out before, is answered; one that
// needs what somebody else holds goes alone.
func (g *group) evaluate() {
	seen := map[uuid.UUID]bool{}
	for _, m := range g.members {
		switch r, verdict := g.judge(m, seen); verdict {
		case goAlone:
			g.alone = append(g.alone, m)
		case answered:
			g.results[m] = r
		case accept:
			seen[m.st.command.ID] = true
			g.accepted = append(g.accepted, m)
			g.w.add(m, g.streams)
		}
	}
}

type verdict int

const (
	accept verdict = iota
	answered
	goAlone
)

// judge says what becomes of a member.
func (g *group) judge(m *member, seen map[uuid.UUID]bool) (result, verdict) {
	st := m.st
	if seen[st.command.ID] || st.part != unrecorded && st.part != g.part {
		return result{}, goAlone
	}
	if st.ask {
		switch c := g.known[st.command.ID]; {
		case !c.locked:
			return result{}, goAlone
		case c.outcome != nil:
			return st.repeated(c), answered
		}
	}
	for i, name := range st.streams {
		stream := g.stream(name)
		switch expected := st.expected[i]; {
		case stream.busy, expected == NoStream && st.events[i] == 0:
			return result{}, goAlone
		case expected != AnyVersion && expected != stream.version && st.ask:
			return result{}, goAlone // alone it learns whether it lost the race to a try of its own
		case expected != AnyVersion && expected != stream.version:
			return result{err: &ErrVersion{Stream: st.targets[i], Expected: expected, Actual: stream.version}}, answered
		}
	}
	return result{}, accept
}

// stream returns the stream as the members before leave it.
func (g *group) stream(name string) *guard {
	stream, ok := g.streams[name]
	if !ok {
		stream = &guard{name: name}
		g.streams[name] = stream
	}
	return stream
}

// repeated answers a command that was carried out before.
func (st *statement) repeated(c lockedCommand) result {
	if !bytes.Equal(c.fingerprint, st.command.Fingerprint) {
		return result{err: ErrCommandReused}
	}
	o, err := parseOutcome(c.outcome)
	o.Replayed = true
	return result{o, err}
}

// size is about what the statement weighs, in bytes.
func (st *statement) size() int {
	n := 256
	for i := range st.ids {
		n += 256 + len(st.data[i]) + len(st.sealed[i]) + len(st.secrets[i])
	}
	return n
}
