package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
)

const (
	batchSize  = 256                    // events folded in one transaction
	turnPause  = 100 * time.Millisecond // how long a node that lost its turn leaves the projection to the other
	firstPause = 100 * time.Millisecond // after a failure, doubled up to lastPause
	lastPause  = 15 * time.Second
)

// Runner keeps projections up with the log. Any number of nodes may run the same ones.
type Runner struct {
	store       *eventstore.Store
	tail        *eventstore.Tail
	pool        *pgxpool.Pool
	log         *slog.Logger
	projections []Projection
	waiter      *Waiter
}

// NewRunner returns a runner for projections that Prepare has made. It tells the waiter whenever one has moved.
func NewRunner(store *eventstore.Store, tail *eventstore.Tail, pool *pgxpool.Pool, log *slog.Logger, waiter *Waiter, projections []Projection) (*Runner, error) {
	for _, p := range projections {
		if _, err := filter(store.Vocabulary(), p); err != nil {
			return nil, err
		}
	}
	return &Runner{store: store, tail: tail, pool: pool, log: log, projections: projections, waiter: waiter}, nil
}

// Run keeps the projections up until ctx ends; what is in hand then is finished or rolled back.
func (r *Runner) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range r.projections {
		g.Go(func() error { r.keepUp(ctx, p); return nil })
	}
	return g.Wait()
}

// keepUp runs one projection until ctx ends, whatever fails.
func (r *Runner) keepUp(ctx context.Context, p Projection) {
	pause := firstPause
	for ctx.Err() == nil {
		started := time.Now()
		err := r.run(ctx, p)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, eventstore.ErrTailReset):
			continue
		case errors.Is(err, errTurnLost):
			wait(ctx, turnPause)
			continue
		}
		if time.Since(started) > 2*lastPause {
			pause = firstPause // it had been running well
		}
		r.report(ctx, p, err)
		wait(ctx, pause)
		pause = min(2*pause, lastPause)
	}
}

// report tells the operator why a projection stands still.
func (r *Runner) report(ctx context.Context, p Projection, err error) {
	const q = `UPDATE atlas.projections SET error = $3, error_at = clock_timestamp() WHERE name = $1 AND version = $2`
	if postgres.IsConnectionLost(err) {
		r.log.Warn("projection waits for the database", "projection", p.ID().Name, "error", err)
		return
	}
	r.log.Error("projection stands still", "projection", p.ID().Name, "error", err)
	if _, err := r.pool.Exec(ctx, q, p.ID().Name, p.ID().Version, err.Error()); err != nil {
		r.log.Warn("projection's error not kept", "projection", p.ID().Name, "error", err)
	}
}

// run folds the log from the stored checkpoint on, until something fails.
func (r *Runner) run(ctx context.Context, p Projection) error {
	f, err := filter(r.store.Vocabulary(), p)
	if err != nil {
		return err
	}
	at, err := position(ctx, r.pool, p.ID())
	if err != nil {
		return err
	}
	reader := r.tail.From(at, f)
	for {
		batch, err := reader.Next(ctx, batchSize)
		if err != nil {
			return err
		}
		if err := r.process(ctx, p, at, batch); err != nil {
			return err
		}
		at = batch.Upto
		r.waiter.Moved()
	}
}

// process folds a batch and moves the checkpoint, in one transaction.
func (r *Runner) process(ctx context.Context, p Projection, from int64, batch eventstore.Batch) error {
	return pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if p.disposable() {
			if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
				return err
			}
		}
		if err := take(ctx, tx, p.ID(), from); err != nil {
			return err
		}
		if len(batch.Events) > 0 {
			if err := p.apply(ctx, tx, batch.Events); err != nil {
				return fmt.Errorf("events %d to %d: %w", batch.Events[0].Position, batch.Upto, err)
			}
		}
		return move(ctx, tx, p.ID(), from, batch.Upto)
	})
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
