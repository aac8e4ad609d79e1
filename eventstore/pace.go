package eventstore

import "time"

// pace has something done once in a gap on average, and at most burst times in a row.
type pace struct {
	gap   time.Duration
	burst int
	due   time.Time // when it is due again if it is done evenly
}

// now notes that it was done, and returns for how long it must not be done again; zero or less for not at all. A wait
// that took longer than it was to is made up for.
func (p *pace) now(at time.Time) time.Duration {
	if earliest := at.Add(-time.Duration(p.burst-1) * p.gap); p.due.Before(earliest) {
		p.due = earliest
	}
	p.due = p.due.Add(p.gap)
	return p.due.Sub(at)
}
