package eventstore_test

import (
	"math/rand/v2"
	"testing"
)

// perform plays one schedule of the programs, each writer on the stream of its number, and says what is wrong.
func (s *stage) perform(programs [][]step, streams []string, schedule []int, paper bool) error {
	s.t.Helper()
	actors := s.run(programs, streams, schedule)
	if err := claims(s.base, s.version, s.truth(streams), actors); err != nil || !paper {
		return err
	}
	return predict(s.base, s.played)
}

func own(n int) (streams []string) {
	for range n {
		streams = append(streams, streamName())
	}
	return streams
}

// apart leaves out of the effects that actors wait for a stream, since each has its own.
func apart(programs [][]effect) [][]effect {
	for _, p := range programs {
		for i := range p {
			p[i] &^= locksStream
		}
	}
	return programs
}

// everySchedule plays all schedules of two writers and a reader, on streams of their own or on one.
func everySchedule(t *testing.T, shared, exists bool, programs ...[]step) {
	t.Helper()
	s := newStage(t, len(programs), "")
	if exists {
		s.version = 1
	}
	n, effects := 0, effectsOf(programs)
	for a, p := range programs {
		for i, st := range p {
			if !shared || exists && st.name == "insert" || !exists && st.name == "append to S" {
				effects[a][i] &^= locksStream // nobody waits there
			}
		}
	}
	orders(effects, func(schedule []int) bool {
		n++
		streams := own(2)
		if shared {
			streams[1] = streams[0]
		}
		if err := s.perform(programs, streams, schedule, exists || !shared); err != nil {
			t.Errorf("%v\nschedule: %s", err, s.told())
		}
		return !t.Failed()
	})
	t.Logf("%d schedules", n)
}

// TestNoScheduleOfTwoWritersMakesAReaderMissAnything plays every order in which two writers and a reader can take their
// steps, up to such as nobody could tell apart.
func TestNoScheduleOfTwoWritersMakesAReaderMissAnything(t *testing.T) {
	t.Parallel()
	steps := func(end step) [][]step { return [][]step{writer(end), writer(commit), reader()} }
	functions := func(end step) [][]step { return [][]step{realWriter(end), realWriter(commit), realReader()} }
	cases := map[string]struct {
		shared, exists bool
		programs       [][]step
	}{
		"steps":                     {false, false, steps(commit)},
		"steps, one rolls back":     {false, false, steps(rollback)},
		"steps, one stream":         {true, true, steps(commit)},
		"functions":                 {false, false, functions(commit)},
		"functions, old streams":    {false, true, functions(commit)},
		"functions, one rolls back": {false, false, functions(rollback)},
		"functions, one new stream": {true, false, functions(commit)},
		"functions, one old stream": {true, true, functions(commit)},
		"groups":                    {false, false, [][]step{realGroup(commit), realWriter(commit), realReader()}},
		"groups, old streams":       {false, true, [][]step{realGroup(commit), realGroup(commit), realReader()}},
		"functions, reads twice":    {false, false, [][]step{realWriter(commit), twice(realReader())}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everySchedule(t, c.shared, c.exists, c.programs...)
		})
	}
}

// TestAHotStreamHoldsUpNoReaderOfOthers lets a writer wait for a stream while another stream grows. A fence taken
// before the wait is correct and holds the reader back; taken after it, as the log does, it does not.
func TestAHotStreamHoldsUpNoReaderOfOthers(t *testing.T) {
	t.Parallel()
	early := []step{begin, lockCommand, readTag, fence, lockStream, draw, insert, commit}
	for name, c := range map[string]struct {
		waits    []step
		heldBack bool
	}{"the log": {realWriter(commit), false}, "a fence before the stream": {early, true}} {
		s := newStage(t, 4, "")
		s.version = 1
		hot := streamName()
		streams := []string{hot, hot, streamName()}
		schedule := []int{0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3}
		all := s.run([][]step{writer(commit), c.waits, writer(commit), reader()}, streams, schedule)
		if err := claims(s.base, s.version, s.truth(streams), all); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(all[3].readings[0].events) == 0; got != c.heldBack {
			t.Errorf("%s: held back is %v, want %v\nschedule: %s", name, got, c.heldBack, s.told())
		}
	}
}

// TestNoDrawnScheduleMakesAReaderMissAnything plays schedules of three writers and two readers that read twice. The
// writers share streams or not, commit, roll back, die at any step, or begin anew from a savepoint.
func TestNoDrawnScheduleMakesAReaderMissAnything(t *testing.T) {
	t.Parallel()
	const schedules = 80
	s := newStage(t, 5, "")
	for seed := range uint64(schedules) {
		r := rand.New(rand.NewPCG(seed, 0))
		programs := [][]step{drawnWriter(r), drawnWriter(r), drawnWriter(r), twice(drawnReader(r)), twice(drawnReader(r))}
		streams := own(3)
		for w := range streams {
			streams[w] = streams[r.IntN(w+1)]
		}
		s.version = int64(seed % 2)
		if err := s.perform(programs, streams, shuffled(r, programs), s.version == 1); err != nil {
			t.Fatalf("seed %d: %v\nschedule: %s", seed, err, s.told())
		}
	}
}

func twice(p []step) []step { return append(append([]step{}, p...), p...) }

func drawnReader(r *rand.Rand) []step {
	if r.IntN(2) == 0 {
		return reader()
	}
	return realReader()
}

func drawnWriter(r *rand.Rand) []step {
	p := writer(commit)
	if r.IntN(2) == 0 {
		p = realWriter(commit)
	}
	switch r.IntN(6) {
	case 0:
		p[len(p)-1] = rollback
	case 1:
		p = append(p[:1+r.IntN(len(p)-1)], die)
	case 2: // all that the first try took is released: its fence, but its positions too
		again := writer(commit)[1:]
		p = append([]step{begin, savepoint}, writer()[1:]...)
		p = append(append(p, backTo), again...)
	}
	return p
}

// shuffled draws a schedule of the programs.
func shuffled(r *rand.Rand, programs [][]step) (schedule []int) {
	for a, p := range programs {
		for range p {
			schedule = append(schedule, a)
		}
	}
	r.Shuffle(len(schedule), func(i, j int) { schedule[i], schedule[j] = schedule[j], schedule[i] })
	return schedule
}
