package commands

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
)

// specification reads: given what has happened, when this is asked, then that happens or is refused.
type specification[S, C, E any] struct {
	t       *testing.T
	decider Decider[S, C, E]
	state   S
	decided []E
	err     error
}

func specify[S, C, E any](t *testing.T, d Decider[S, C, E]) *specification[S, C, E] {
	t.Helper()
	return &specification[S, C, E]{t: t, decider: d}
}

func (s *specification[S, C, E]) given(history ...E) *specification[S, C, E] {
	s.state = s.fold(history)
	return s
}

func (s *specification[S, C, E]) when(command C) *specification[S, C, E] {
	s.decided, s.err = s.decider.Decide(s.state, command)
	return s
}

// then wants exactly these events; none says that the command succeeds and changes nothing. What was decided must fold.
func (s *specification[S, C, E]) then(want ...E) {
	s.t.Helper()
	if s.err != nil {
		s.t.Fatalf("got the error %q, want %d events", s.err, len(want))
	}
	if diff := cmp.Diff(want, s.decided, cmpopts.EquateEmpty()); diff != "" {
		s.t.Errorf("decided (-want +got):\n%s", diff)
	}
	s.fold(s.decided)
}

// thenFails wants the fault, and no events beside it.
func (s *specification[S, C, E]) thenFails(want error) {
	s.t.Helper()
	if !errors.Is(s.err, want) || len(s.decided) > 0 {
		s.t.Errorf("got %d events and the error %v, want %q", len(s.decided), s.err, want)
	}
}

func (s *specification[S, C, E]) fold(events []E) (state S) {
	state = s.state
	for _, e := range events {
		state = s.decider.Evolve(state, e)
	}
	return state
}

// characters returns a text of n characters, each of which takes four bytes.
func characters(n int) string { return strings.Repeat("𝄞", n) }
