package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

// convoy is the lines of a process that have caught up with the log: they stand at one position, and each batch that the
// tail brings is folded into all of them in one transaction. A line that fails leaves, and joins again when it has
// caught up.
type convoy struct {
	runner *Runner
	filter eventstore.Filter // what any of the process's lines may want

	mu    sync.Mutex // held while a batch is folded, and while a line joins
	lines []*line
	at    int64
	full  chan struct{} // holds a token when the first line has joined
}

// joinTime bounds how long the others are kept waiting for one that joins.
const joinTime = 2 * time.Second

func newConvoy(r *Runner, f eventstore.Filter) *convoy {
	return &convoy{runner: r, filter: f, full: make(chan struct{}, 1)}
}

// join takes in a line that has caught up but for what came in since. Whichever of the two is behind is brought to where
// the other stands.
func (c *convoy) join(ctx context.Context, l *line) bool {
	bounded, done := context.WithTimeout(ctx, joinTime)
	defer done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prune()
	for len(c.lines) > 0 && c.at < l.at {
		batch, err := upto(bounded, c.runner.tail.From(c.at, c.filter), l.at)
		if err != nil || c.advance(ctx, batch) != nil {
			return false
		}
	}
	for len(c.lines) > 0 && l.at < c.at {
		batch, err := upto(bounded, c.runner.tail.From(l.at, l.filter), c.at)
		if err != nil || len(batch.Events) == batchSize || c.runner.step(ctx, l, batch) != nil {
			return false
		}
	}
	c.lines, c.at = append(c.lines, l), l.at
	select {
	case c.full <- struct{}{}:
	default:
	}
	return true
}

// upto reads a batch that ends at a position at the latest.
func upto(ctx context.Context, r *eventstore.Reader, position int64) (eventstore.Batch, error) {
	batch, err := r.Next(ctx, batchSize)
	if batch.Upto > position {
		batch.Upto = position
		beyond := slices.IndexFunc(batch.Events, func(e *eventstore.Recorded) bool { return e.Position > position })
		if beyond >= 0 {
			batch.Events = batch.Events[:beyond]
		}
	}
	return batch, err
}

// run moves the convoy until ctx ends.
func (c *convoy) run(ctx context.Context) {
	var reader *eventstore.Reader
	from, limit := int64(-1), batchSize
	for ctx.Err() == nil {
		at, any := c.stand()
		if !any {
			select {
			case <-ctx.Done():
			case <-c.full:
			}
			continue
		}
		if reader == nil || from != at {
			reader, from = c.runner.tail.From(at, c.filter), at
		}
		batch, err := reader.Next(ctx, limit)
		if err == nil {
			err = c.take(ctx, from, batch)
			from = batch.Upto
		}
		limit = nextLimit(limit, len(batch.Events) == limit)
		if err != nil {
			reader = nil
			c.failed(ctx, err)
		}
	}
}

// stand returns where the convoy stands, and whether there is one.
func (c *convoy) stand() (at int64, any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prune()
	return c.at, len(c.lines) > 0
}

// prune lets go of lines that are another's. Call it with mu held.
func (c *convoy) prune() {
	c.lines = slices.DeleteFunc(c.lines, func(l *line) bool { return l.gone.Load() })
}

// take folds a batch that was read from a position on, unless the convoy has come further meanwhile.
func (c *convoy) take(ctx context.Context, from int64, batch eventstore.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at != from {
		return nil
	}
	return c.advance(ctx, batch)
}

// advance folds a batch into all lines. Those that fail leave. Call it with mu held.
func (c *convoy) advance(ctx context.Context, batch eventstore.Batch) error {
	c.prune()
	t := turn{lines: slices.Clone(c.lines), batch: batch}
	if err := t.take(ctx, c.runner.pool); err != nil {
		return err
	}
	c.lines, c.at = t.moved(), batch.Upto
	if len(c.lines) > 0 {
		c.runner.waiter.Moved()
	}
	for l, err := range t.failed {
		c.runner.apart(ctx, l, err)
	}
	return nil
}

// failed deals with what stopped all lines at once.
func (c *convoy) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if postgres.IsConnectionLost(err) {
		c.runner.log.Warn("projections wait for the database", "error", err)
		wait.For(ctx, lostPause)
		return
	}
	// Whose fault it was shows when each goes by itself.
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		if errors.Is(err, eventstore.ErrTailReset) {
			c.runner.drop(l)
		} else {
			c.runner.apart(ctx, l, err)
		}
	}
	c.lines = nil
}
