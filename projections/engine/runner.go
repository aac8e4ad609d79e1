package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	batchSize  = 256                    // events folded in one transaction, while there is no more to do
	mostEvents = 2048                   // and when there is
	busyPause  = 100 * time.Millisecond // how long a projection is left to who has its checkpoint locked
	lostPause  = 500 * time.Millisecond // between looks for a database that is away
	firstPause = 100 * time.Millisecond // after a failure, doubled up to lastPause until the projection moves again
	lastPause  = 15 * time.Second
	alonePause = 5 * time.Second // how long a projection is left to nodes that know newer events
)

// Runner keeps projections up with the log. Any number of nodes may run the same ones: each is moved by the one node that
// holds its lease.
type Runner struct {
	store    *eventstore.Store
	tail     *eventstore.Tail
	pool     *pgxpool.Pool
	log      *slog.Logger
	waiter   *Waiter
	known    map[ID]Projection
	presence *presence
	convoy   *convoy
	look     chan struct{} // has the leases looked at now
	watch    time.Duration // frozenLook, but for tests

	registered bool // what this binary folds

	mu      sync.Mutex
	running map[place]*line
	alone   map[string]time.Time // versions to be left to others until then
	parts   sync.WaitGroup       // goroutines of lines
}

// NewRunner returns a runner for projections that Prepare has made. It tells the waiter whenever one has moved.
func NewRunner(store *eventstore.Store, tail *eventstore.Tail, pool *pgxpool.Pool, log *slog.Logger, waiter *Waiter, projections []Projection) (*Runner, error) {
	if err := distinct(projections); err != nil {
		return nil, err
	}
	r := &Runner{
		store: store, tail: tail, pool: pool, log: log, waiter: waiter,
		known: map[ID]Projection{}, presence: newPresence(store.Vocabulary()), look: make(chan struct{}, 1), watch: frozenLook,
		running: map[place]*line{}, alone: map[string]time.Time{},
	}
	var all eventstore.Filter
	for _, p := range projections {
		r.presence.runs = append(r.presence.runs, p.ID().String())
		f, err := filter(store.Vocabulary(), p)
		if err != nil {
			return nil, err
		}
		if p.disposable() {
			all.Types = append(all.Types, f.Types...)
		}
		r.known[p.ID()] = p
	}
	slices.Sort(all.Types)
	all.Types = slices.Compact(all.Types)
	r.convoy = newConvoy(r, all)
	return r, nil
}

// Run keeps the projections up until ctx ends; what is in hand then is finished or rolled back, and all are given back
// for other nodes to take at once.
func (r *Runner) Run(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	r.parts.Go(func() { r.convoy.run(working) })
	r.parts.Go(func() { r.keepRetrying(working) })
	r.parts.Go(func() { r.keepWatch(working) })
	for working.Err() == nil {
		if err := r.keepLeases(working); err != nil && working.Err() == nil {
			r.log.Warn("projections' leases not renewed", "error", err)
			r.presence.disconnect()
		}
		wait.Until(working, r.look, leaseLook)
	}
	r.parts.Wait()
	if err := r.presence.leave(ctx, r.pool); err != nil {
		r.log.Warn("projections not given back; others take them soon", "error", err)
	}
	return nil
}

// keepLeases renews what the process holds, takes what nobody holds, and starts what it does not run yet.
func (r *Runner) keepLeases(ctx context.Context) error {
	bounded, done := context.WithTimeout(ctx, leaseTime)
	defer done()
	if err := r.register(bounded); err != nil {
		return err
	}
	if err := r.presence.attend(bounded, r.pool); err != nil {
		return err
	}
	held, err := r.presence.hold(bounded, r.leftAlone())
	if err != nil {
		return err
	}
	return r.startHeld(ctx, held)
}

// register says what this binary folds, once.
func (r *Runner) register(ctx context.Context) error {
	if r.registered {
		return nil
	}
	err := Register(ctx, r.store, r.pool, slices.Collect(maps.Values(r.known)))
	r.registered = err == nil
	return err
}

// startHeld starts what the process holds and does not run yet, and lets go of what it runs and holds no more.
func (r *Runner) startHeld(ctx context.Context, held []checkpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := map[place]int64{}
	for _, c := range held {
		now[c.place] = c.epoch
	}
	for where, l := range r.running {
		if epoch, mine := now[where]; !mine || epoch != l.epoch {
			l.gone.Store(true)
			delete(r.running, where)
		}
	}
	for _, c := range held {
		if r.running[c.place] == nil {
			if err := r.start(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// leftAlone returns the versions that are to be taken by others, for now.
func (r *Runner) leftAlone() (versions []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for version, until := range r.alone {
		if time.Now().Before(until) {
			versions = append(versions, version)
		}
	}
	return versions
}

// start runs a line from its checkpoint on. Call it with mu held.
func (r *Runner) start(ctx context.Context, c checkpoint) error {
	l, err := newLine(r.store.Vocabulary(), r.known[c.ID], c)
	if err != nil {
		return err
	}
	r.running[l.place] = l
	r.parts.Go(func() { r.keepUp(ctx, l) })
	return nil
}

// drop forgets a line whose checkpoint is not where the process believed. If the process still holds it, it starts again
// from where it is.
func (r *Runner) drop(l *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.gone.Store(true)
	if r.running[l.place] == l {
		delete(r.running, l.place)
	}
	select {
	case r.look <- struct{}{}:
	default:
	}
}

// leave gives a line to another node, one that knows events that this one does not.
func (r *Runner) leave(ctx context.Context, l *line) {
	r.mu.Lock()
	r.alone[l.ID.String()] = time.Now().Add(alonePause)
	r.mu.Unlock()
	if err := giveBack(ctx, r.pool, l); err != nil {
		r.log.Warn("projection not handed over", "projection", l.Name, "error", err)
	}
	r.drop(l)
}

// keepUp moves one line by itself until it has caught up with the others and can join them, or is gone. What fails is
// tried again.
func (r *Runner) keepUp(ctx context.Context, l *line) {
	pause, limit := firstPause, batchSize
	reader := r.tail.From(l.at, l.filter)
	for ctx.Err() == nil && !l.gone.Load() {
		batch, err := reader.Next(ctx, limit)
		read := batch.Upto
		if err == nil {
			batch, err = before(batch)
		}
		if err == nil {
			if err = r.step(ctx, l, batch); err == nil {
				pause = firstPause
				full := len(batch.Events) == limit
				limit = nextLimit(limit, full)
				if batch.Upto < read {
					reader = r.tail.From(l.at, l.filter)
				} else if !full && !l.apart && l.p.disposable() && r.convoy.join(ctx, l) {
					return
				}
				continue
			}
		}
		limit = max(1, limit/2)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, eventstore.ErrTailReset), errors.Is(err, errTurnLost):
			r.drop(l)
		case errors.Is(err, errBusy):
			wait.For(ctx, busyPause)
		case postgres.IsConnectionLost(err):
			r.log.Warn("projection waits for the database", "projection", l.Name, "error", err)
			wait.For(ctx, lostPause)
		case events.Beyond(err):
			r.report(ctx, l, err)
			r.leave(ctx, l)
		case len(batch.Events) > 1 && !l.p.disposable():
			// What can be done of it is done first, and the error names the event that fails.
		default:
			r.report(ctx, l, err)
			wait.For(ctx, pause)
			pause = min(2*pause, lastPause)
		}
		reader = r.tail.From(l.at, l.filter)
	}
}

// nextLimit lets batches grow while they are full.
func nextLimit(limit int, full bool) int {
	if !full {
		return batchSize
	}
	return min(max(2*limit, 2), mostEvents)
}

// step folds a batch into one line.
func (r *Runner) step(ctx context.Context, l *line, batch eventstore.Batch) error {
	t := turn{lines: []*line{l}, batch: batch}
	if err := t.take(ctx, r.pool); err != nil {
		return err
	}
	if t.failed[l] == nil {
		r.waiter.Moved()
	}
	return t.failed[l]
}

// report tells the operator why a projection stands still, unless another node has taken it since.
func (r *Runner) report(ctx context.Context, l *line, err error) {
	const q = `
		UPDATE atlas.projections SET error = $5, error_at = clock_timestamp(), attempts = attempts + 1,
			error_since = coalesce(error_since, clock_timestamp())
		WHERE name = $1 AND version = $2 AND generation = $3 AND epoch = $4`
	log := r.log.With("projection", l.Name, "position", l.at)
	if bug := (*panicked)(nil); errors.As(err, &bug) {
		log = log.With("stack", string(bug.stack))
	}
	log.Error("projection stands still", "error", reason(err))
	if _, err := r.pool.Exec(ctx, q, l.Name, l.Version, l.Generation, l.epoch, reason(err)); err != nil {
		log.Warn("projection's error not kept", "error", err)
	}
}

// apply folds the events of a batch into a generation, all or none.
func apply(ctx context.Context, tx pgx.Tx, p Projection, generation int, batch eventstore.Batch) (err error) {
	if len(batch.Events) == 0 {
		return nil
	}
	first, last := batch.Events[0].Position, batch.Events[len(batch.Events)-1].Position
	defer recovered(&err)
	if err := p.apply(ctx, tx, generation, batch.Events); err != nil {
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

// apart lets a line that failed among others go on by itself.
func (r *Runner) apart(ctx context.Context, l *line, err error) {
	if errors.Is(err, errTurnLost) {
		r.drop(l)
		return
	}
	r.parts.Go(func() { r.keepUp(ctx, l) })
}
