package engine

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// What tests may see of the engine.
const (
	BatchSize = batchSize
	MaxLoad   = maxLoad
	MaxParked = maxParked
)

// Apply hands events to a projection, as the runner does.
func Apply(ctx context.Context, tx pgx.Tx, p Projection, recorded []*eventstore.Recorded) error {
	return apply(ctx, tx, p, 1, eventstore.Batch{Events: recorded})
}

// Waiting says how many wait, and whether anybody looks at the checkpoints for them.
func (w *Waiter) Waiting() (waiting int, polling bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting), w.polling
}

// WatchEvery has the runner look so often for projections that do not move.
func (r *Runner) WatchEvery(d time.Duration) *Runner {
	r.watch = d
	return r
}

// KeepLeases is what the runner does about its leases four times a second.
func (r *Runner) KeepLeases(ctx context.Context) error { return r.keepLeases(ctx) }

// InPages makes the workshop read so many events at once, so that a short log takes long.
func (w *Workshop) InPages(of int) *Workshop {
	w.page = of
	return w
}
