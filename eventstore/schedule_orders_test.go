package eventstore_test

// effect is what a step does that another actor could notice, or notices of others: a set of bits.
type effect uint

const (
	readsEnd    effect = 1 << iota // of the sequence
	draws                          // from the sequence
	fences                         // takes or releases a fence
	readsFences                    // of whoever holds one
	ends                           // makes rows visible or not, and releases all locks
	readsEvents                    // or takes the snapshot they will be read from
	locksStream                    // waits for whoever holds it
)

// meets lists the effects whose order matters. Steps of two actors that do not meet give the same whichever comes first.
var meets = [][2]effect{
	{readsEnd, draws}, {draws, draws},
	{fences, readsFences}, {ends, readsFences},
	{ends, readsEvents},
	{locksStream, locksStream}, {locksStream, ends},
}

func (e effect) meets(o effect) bool {
	for _, m := range meets {
		if e&m[0] != 0 && o&m[1] != 0 || e&m[1] != 0 && o&m[0] != 0 {
			return true
		}
	}
	return false
}

// orders calls visit with schedules of the programs: each entry names the actor whose next step it is. Of all schedules
// that differ only in the order of steps that do not meet, it visits one, so that the schedules visited stand for all
// there are. (These are sleep sets; see P. Godefroid, Partial-Order Methods.) It ends early when visit says false.
func orders(programs [][]effect, visit func(schedule []int) bool) {
	e := enumeration{programs: programs, next: make([]int, len(programs)), visit: visit}
	e.explore(0)
}

type enumeration struct {
	programs [][]effect
	next     []int
	schedule []int
	visit    func([]int) bool
	stopped  bool
}

// explore goes on in every way from here. asleep are the actors whose next step was tried in an equivalent place.
func (e *enumeration) explore(asleep uint) {
	ended := true
	for a, p := range e.programs {
		if e.next[a] == len(p) {
			continue
		}
		ended = false
		if asleep&(1<<a) != 0 || e.stopped {
			continue
		}
		mine := p[e.next[a]]
		e.next[a]++
		e.schedule = append(e.schedule, a)
		e.explore(e.awake(asleep, mine))
		e.schedule = e.schedule[:len(e.schedule)-1]
		e.next[a]--
		asleep |= 1 << a
	}
	if ended && !e.stopped {
		e.stopped = !e.visit(e.schedule)
	}
}

// awake drops from those asleep whose next step meets the one just taken, and who took it.
func (e *enumeration) awake(asleep uint, taken effect) (still uint) {
	for b, p := range e.programs {
		if asleep&(1<<b) != 0 && !p[e.next[b]].meets(taken) {
			still |= 1 << b
		}
	}
	return still
}
