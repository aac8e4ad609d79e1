package bench

import (
	"context"
	"time"

	"github.com/atlas-platform/atlas/internal/measure"
)

// Case is one thing that can be measured.
type Case struct {
	Name    string
	About   string // in a sentence, with what it is compared to
	Clients []int  // how many at once, one measurement each, unless the caller says otherwise
	// Open makes the contest ready. It is closed when it has been measured.
	Open func(ctx context.Context, s Setting) (Contest, error)
}

// Contest is what a case compares. Close may be nil.
type Contest struct {
	measure.Contest
	Also  []Also // what is measured after it
	Close func()
}

// Also is something else that is measured of what was opened for a case.
type Also struct {
	Name string // behind the case's own, and a dot
	measure.Contest
}

// Setting is what a case is opened for.
type Setting struct {
	Room    *measure.Room
	Clients int
	Length  time.Duration // of each sample
	Events  int64         // that the log is grown to, by cases that grow one; 0 for as many as the case thinks good
	NATS    string        // where a NATS server is, for cases that need one
	Rate    int           // events that are appended in a second, by cases that do not go as fast as they can
}

// Catalog lists the cases.
func Catalog() []Case {
	return []Case{appendOne, appendHundred, importLog, loadStream, readAll, fillLog, rebuildTable, viewLag, subscribeLog, leaseQueue, relayTopic}
}

// Measure opens the case for one number of clients and returns its figures.
func (c Case) Measure(ctx context.Context, s Setting, pairs int, progress func(done, total int)) ([]measure.Figure, error) {
	contest, err := c.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	if contest.Close != nil {
		defer contest.Close()
	}
	total := (2 + 2*pairs) * (1 + len(contest.Also))
	before := 0
	plan := measure.Plan{Clients: s.Clients, Length: s.Length, Pairs: pairs, Progress: func(done, _ int) { progress(before+done, total) }}
	all, err := measure.Compare(ctx, c.Name, contest.Contest, plan)
	for _, also := range contest.Also {
		if err != nil {
			return nil, err
		}
		before += 2 + 2*pairs
		var more []measure.Figure
		more, err = measure.Compare(ctx, c.Name+"."+also.Name, also.Contest, plan)
		all = append(all, more...)
	}
	return all, err
}
