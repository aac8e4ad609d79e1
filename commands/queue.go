package commands

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/atlas-platform/atlas/eventstore"
)

// queue lets the commands of one process on one stream go one after the other, each deciding on what the one before has
// left. Without it they would race, and all but one would decide in vain.
type queue struct {
	mu    sync.Mutex
	lines map[eventstore.Stream]*line
}

// line is the queue of one stream. Whoever holds the token is at its head.
type line struct {
	token chan struct{}
	users int // who holds the token or waits for it
}

func newQueue() *queue { return &queue{lines: map[eventstore.Stream]*line{}} }

// enter waits until it is the caller's turn on all the streams. They are waited for in one order, so that callers with
// several streams cannot wait for each other.
func (q *queue) enter(ctx context.Context, streams []eventstore.Stream) (leave func(), err error) {
	streams = slices.Clone(streams)
	slices.SortFunc(streams, func(a, b eventstore.Stream) int { return strings.Compare(a.String(), b.String()) })
	streams = slices.Compact(streams)
	for i, s := range streams {
		if err := q.join(s).wait(ctx); err != nil {
			q.part(s)
			q.leave(streams[:i])
			return nil, err
		}
	}
	return func() { q.leave(streams) }, nil
}

func (q *queue) join(s eventstore.Stream) *line {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, there := q.lines[s]
	if !there {
		l = &line{token: make(chan struct{}, 1)}
		l.token <- struct{}{}
		q.lines[s] = l
	}
	l.users++
	return l
}

func (l *line) wait(ctx context.Context) error {
	select {
	case <-l.token:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave lets the next ones in.
func (q *queue) leave(streams []eventstore.Stream) {
	for _, s := range streams {
		q.part(s).token <- struct{}{}
	}
}

// part takes a user from a line, and forgets the line with the last one.
func (q *queue) part(s eventstore.Stream) *line {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[s]
	if l.users--; l.users == 0 {
		delete(q.lines, s)
	}
	return l
}
