package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	lostPause  = 500 * time.Millisecond // between looks for a database that is away
	firstPause = 100 * time.Millisecond // after a failure, doubled up to lastPause until the projection moves again
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
	if err := distinct(projections); err != nil {
		return nil, err
	}
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
		from, at, err := r.run(ctx, p)
		if at > from {
			pause = firstPause
		}
		switch {
		case ctx.Err() != nil, errors.Is(err, eventstore.ErrTailReset):
		case errors.Is(err, errTurnLost):
			wait(ctx, turnPause)
		case postgres.IsConnectionLost(err):
			r.log.Warn("projection waits for the database", "projection", p.ID().Name, "error", err)
			wait(ctx, lostPause)
		default:
			r.report(ctx, p, at, err)
			wait(ctx, pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// report tells the operator why a projection stands still, unless another node has moved it since.
func (r *Runner) report(ctx context.Context, p Projection, at int64, err error) {
	const q = `
		UPDATE atlas.projections SET error = $4, error_at = clock_timestamp(), error_since = coalesce(error_since, clock_timestamp()),
			attempts = attempts + 1
		WHERE name = $1 AND version = $2 AND position = $3`
	log := r.log.With("projection", p.ID().Name, "position", at)
	if bug := (*panicked)(nil); errors.As(err, &bug) {
		log = log.With("stack", string(bug.stack))
	}
	log.Error("projection stands still", "error", err)
	if _, err := r.pool.Exec(ctx, q, p.ID().Name, p.ID().Version, at, err.Error()); err != nil {
		log.Warn("projection's error not kept", "error", err)
	}
}

// run folds the log from the stored checkpoint on, until something fails. It returns where it began and how far it came.
func (r *Runner) run(ctx context.Context, p Projection) (from, at int64, err error) {
	f, err := filter(r.store.Vocabulary(), p)
	if err != nil {
		return 0, 0, err
	}
	if from, err = position(ctx, r.pool, p.ID()); err != nil {
		return 0, 0, err
	}
	reader := r.tail.From(from, f)
	for at = from; ; {
		batch, err := reader.Next(ctx, batchSize)
		if err != nil {
			return from, at, err
		}
		if err := r.process(ctx, p, at, batch); err != nil {
			return from, at, err
		}
		at = batch.Upto
		r.waiter.Moved()
	}
}

// process folds a batch and moves the checkpoint, in one transaction.
func (r *Runner) process(ctx context.Context, p Projection, from int64, batch eventstore.Batch) error {
	return pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		// A node that freezes holds the projection for so long and no longer.
		settings := `SET LOCAL idle_in_transaction_session_timeout = '10s'`
		if p.disposable() {
			settings += `; SET LOCAL synchronous_commit = off`
		}
		if _, err := tx.Exec(ctx, settings); err != nil {
			return err
		}
		if err := take(ctx, tx, p.ID(), from); err != nil {
			return err
		}
		if err := apply(ctx, tx, p, batch); err != nil {
			return err
		}
		return move(ctx, tx, p.ID(), from, batch.Upto)
	})
}

// apply hands the events of a batch to a projection.
func apply(ctx context.Context, tx pgx.Tx, p Projection, batch eventstore.Batch) (err error) {
	if len(batch.Events) == 0 {
		return nil
	}
	first, last := batch.Events[0].Position, batch.Events[len(batch.Events)-1].Position
	defer recovered(&err)
	if err := p.apply(ctx, tx, batch.Events); err != nil {
		return fmt.Errorf("events %d to %d: %w", first, last, err)
	}
	return nil
}

// panicked is a panic as an error: a projection that panics has failed like any other, and takes nothing else with it.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// recovered turns a panic into an error. Defer it.
func recovered(err *error) {
	if value := recover(); value != nil {
		*err = &panicked{value: value, stack: debug.Stack()}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
