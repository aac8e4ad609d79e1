package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

// Workshop rebuilds projections, rolls them back and verifies them, while they run. It is safe for concurrent use.
type Workshop struct {
	store       *eventstore.Store
	pool        *pgxpool.Pool
	log         *slog.Logger
	projections map[ID]Projection
	names       map[string]ID
	build       func() (string, error)
	page        int // events read at once; 0 for as many as is good
}

// NewWorkshop returns a workshop for projections that Prepare has made. build tells one binary from another: what a rebuild has
// folded is gone on with by the same folds only. It is called once for each job.
func NewWorkshop(store *eventstore.Store, pool *pgxpool.Pool, log *slog.Logger, build func() (string, error), projections []Projection) *Workshop {
	w := &Workshop{store: store, pool: pool, log: log, build: build, projections: map[ID]Projection{}, names: map[string]ID{}}
	for _, p := range projections {
		w.projections[p.ID()] = p
		if p.ID().Version >= w.names[p.ID().Name].Version {
			w.names[p.ID().Name] = p.ID()
		}
	}
	return w
}

// Ask has a job done by some process with the role projector, and returns at once. A job of the same kind that has not
// ended is done with these options from now on; one of another kind is ErrBusy. A verification that is to repair goes on to be
// one, whoever asks for another; to repair, while one that does not is under way, is ErrBusy.
func (w *Workshop) Ask(ctx context.Context, kind Kind, id ID, o Options) (Job, error) {
	if err := w.able(ctx, kind, id); err != nil {
		return Job{}, err
	}
	return ask(ctx, w.pool, id, kind, true, o)
}

// ErrUnknown says that there is no projection of the name.
var ErrUnknown = fault.New(fault.NotFound, "projection_unknown", "there is no projection of this name")

// Find returns the newest version of a projection that this binary has.
func (w *Workshop) Find(name string) (ID, error) {
	id, known := w.names[name]
	if !known {
		return id, ErrUnknown
	}
	return id, nil
}

// Overview is how one version of a projection is doing, and what is or was last done to it.
type Overview struct {
	Status
	Job *Job
}

// Overview returns every version of every projection in the database.
func (w *Workshop) Overview(ctx context.Context) ([]Overview, error) {
	newest, err := w.store.Newest(ctx)
	if err != nil {
		return nil, err
	}
	states, err := List(ctx, w.pool, newest)
	if err != nil {
		return nil, err
	}
	jobs, err := LastJobs(ctx, w.pool)
	if err != nil {
		return nil, err
	}
	all := make([]Overview, len(states))
	for i, s := range states {
		all[i].Status = s
		if j, any := jobs[s.ID]; any {
			all[i].Job = &j
		}
	}
	return all, nil
}

// able says why a job cannot be done, as far as that is known before.
func (w *Workshop) able(ctx context.Context, kind Kind, id ID) error {
	if _, err := standingOf(w.projections[id]); err != nil {
		return fmt.Errorf("%s %s: %w", kind, id.Name, err)
	}
	if err := requireKnown(ctx, w.pool, w.store.Vocabulary(), id); err != nil {
		return fmt.Errorf("%s %s: %w", kind, id.Name, err)
	}
	if kind != KindRollback {
		return nil
	}
	all, err := generations(ctx, w.pool, id, false)
	if err != nil {
		return err
	}
	_, there := inState(all, retired)
	if begun, unfinished := unfinished(all); unfinished && !there {
		there, err = rollingBack(ctx, w.pool, begun)
	}
	if err == nil && !there {
		err = ErrNoGeneration
	}
	return err
}

// rollingBack says whether it is a rollback that brings an unfinished generation up.
func rollingBack(ctx context.Context, q querier, g generation) (rolling bool, err error) {
	const sql = `
		SELECT coalesce((SELECT kind = 'rollback' FROM atlas.projection_jobs
			WHERE name = $1 AND version = $2 AND generation = $3 ORDER BY id DESC LIMIT 1), false)`
	return rolling, q.QueryRow(ctx, sql, g.ID.Name, g.ID.Version, g.Number).Scan(&rolling)
}

// Do does a job in this process and returns when it has ended. A job of the same kind that another process works on is
// followed until it ends; one that was abandoned is gone on with. Either way these options are the job's from now on, as of
// Ask. watch, if given, hears how it goes.
//
// When ctx ends, the job waits for the same call to go on with it.
func (w *Workshop) Do(ctx context.Context, kind Kind, id ID, o Options, watch func(Job)) (Job, error) {
	if err := w.able(ctx, kind, id); err != nil {
		return Job{}, err
	}
	j, err := ask(ctx, w.pool, id, kind, false, o)
	if err != nil {
		return j, err
	}
	if watch == nil {
		watch = func(Job) {}
	}
	for {
		worker, err := w.take(ctx, j)
		if err == nil {
			return w.work(ctx, worker, watch)
		}
		if !errors.Is(err, ErrBusy) {
			return j, err
		}
		if j, err = oneJob(ctx, w.pool, `id = $1`, j.Number); err != nil || j.Ended() {
			return j, outcome(j, err)
		}
		watch(j)
		if !wait.For(ctx, tellPause) {
			return j, ctx.Err()
		}
	}
}

// take takes a job for this binary.
func (w *Workshop) take(ctx context.Context, j Job) (*worker, error) {
	build, err := w.build()
	if err != nil {
		return nil, fmt.Errorf("which binary is this: %w", err)
	}
	return takeJob(ctx, w.pool, j.Number, build)
}

// outcome returns how a job that another process worked on has ended.
func outcome(j Job, err error) error {
	switch {
	case err != nil:
		return err
	case j.State == "cancelled":
		return ErrCancelled
	case j.Error != "":
		return errors.New(j.Error)
	}
	return nil
}

// work does a job that was taken, and writes down what became of it.
func (w *Workshop) work(ctx context.Context, by *worker, watch func(Job)) (Job, error) {
	result, err := w.carryOut(ctx, by, watch)
	interrupted := err != nil && (ctx.Err() != nil || postgres.IsConnectionLost(err))
	return by.end(err, interrupted, result)
}

func (w *Workshop) carryOut(ctx context.Context, by *worker, watch func(Job)) (result any, err error) {
	defer recovered(&err)
	p, err := standingOf(w.projections[by.job.ID])
	if err != nil {
		return nil, err
	}
	tell := func(phase string, done, total, events int64) error {
		err := by.tell(ctx, phase, done, total, events)
		watch(by.job)
		return err
	}
	t := task{Workshop: w, by: by, p: p, tell: tell}
	switch by.job.Kind {
	case KindRebuild:
		return t.rebuild(ctx)
	case KindRollback:
		return nil, t.rollback(ctx)
	case KindVerify:
		return t.verify(ctx)
	}
	return nil, fmt.Errorf("a job of the unknown kind %q", by.job.Kind)
}

// task is a job in hand.
type task struct {
	*Workshop
	by   *worker
	p    standing
	tell func(phase string, done, total, events int64) error
}

// rebuild builds a generation beside the live one, verifies it and swaps.
func (t task) rebuild(ctx context.Context) (any, error) {
	b, err := t.resume(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.catchUp(ctx); err != nil {
		return nil, err
	}
	if err := b.analyze(ctx); err != nil {
		return nil, err
	}
	found, err := b.verifyItself(ctx)
	if errors.Is(err, errUnlike) {
		err = errors.Join(err, pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return b.gen.drop(ctx, tx) }))
	}
	if err != nil {
		return found, err
	}
	return found, t.finish(ctx, b)
}

// finish swaps, and drops the generations that are too old to roll back to.
func (t task) finish(ctx context.Context, b *rebuild) error {
	b.bulk.release()
	if err := b.swap(ctx); err != nil {
		return err
	}
	t.log.Info("projection swapped", "projection", b.gen.ID.Name, "generation", b.gen.Number, "position", b.gen.Position)
	err := pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '1s'`); err != nil {
			return err
		}
		return tidy(ctx, tx, b.gen.ID)
	})
	if isBusy(err) {
		return nil // the next rebuild or drop-old tries again
	}
	return err
}

// resume goes on with the generation that was being built, if that was by the same binary, or begins one.
func (t task) resume(ctx context.Context) (b *rebuild, err error) {
	var g generation
	err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		all, err := generations(ctx, tx, t.p.ID(), true)
		if err != nil {
			return err
		}
		if old, there := unfinished(all); there {
			if same, err := t.begunBySame(ctx, tx, old); err != nil || same {
				if err == nil {
					g, err = old.own(ctx, tx)
				}
				return err
			}
			if err := discard(ctx, tx, old); err != nil {
				return err
			}
		}
		g, err = t.begin(ctx, tx, all)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.on(ctx, g)
}

// begunBySame says whether all that a generation holds was folded by this binary, in this job or in one that failed.
func (t task) begunBySame(ctx context.Context, q querier, g generation) (bool, error) {
	const last = `
		SELECT build FROM atlas.projection_jobs WHERE name = $1 AND version = $2 AND generation = $3 AND id <> $4
		ORDER BY id DESC LIMIT 1`
	before := t.by.before
	if g.Number != t.by.job.Generation {
		err := q.QueryRow(ctx, last, g.ID.Name, g.ID.Version, g.Number, t.by.job.Number).Scan(&before)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return before == t.by.job.build, nil
}

// on returns the rebuild of a generation, once the job says that it is that one.
func (t task) on(ctx context.Context, g generation) (*rebuild, error) {
	t.by.job.Generation = g.Number
	t.by.shown = time.Time{}
	if err := t.tell(phaseFolding, g.Position, max(g.Position, 1), 0); err != nil {
		return nil, err
	}
	b, err := newRebuild(t.store, t.pool, t.p, g, &t.by.job, t.tell)
	if err == nil && t.page > 0 {
		b.page = t.page
	}
	return b, err
}

// begin makes a new generation.
func (t task) begin(ctx context.Context, tx pgx.Tx, all []generation) (g generation, err error) {
	const q = `
		INSERT INTO atlas.projections (name, version, generation, state, epoch, subject) VALUES ($1, $2, $3, 'building', 1, nullif($4, ''))
		RETURNING ` + generationColumns
	n := 1
	for _, g := range all {
		n = max(n, g.Number+1)
	}
	id := t.p.ID()
	rows, err := tx.Query(ctx, q, id.Name, id.Version, n, t.p.subjectColumn())
	if err != nil {
		return g, err
	}
	if g, err = pgx.CollectExactlyOneRow(rows, scanGeneration); err != nil {
		return g, err
	}
	return g, t.p.on(g.Number).make(ctx, tx)
}

// own makes a generation the caller's alone.
func (g generation) own(ctx context.Context, tx pgx.Tx) (generation, error) {
	const q = `
		UPDATE atlas.projections SET epoch = epoch + 1, holder = NULL, state = 'building'
		WHERE name = $1 AND version = $2 AND generation = $3
		RETURNING ` + generationColumns
	rows, err := tx.Query(ctx, q, g.ID.Name, g.ID.Version, g.Number)
	if err != nil {
		return g, err
	}
	return pgx.CollectExactlyOneRow(rows, scanGeneration)
}

// rollback brings the generation that was live before up to date, and swaps.
func (t task) rollback(ctx context.Context) error {
	var g generation
	err := pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		all, err := generations(ctx, tx, t.p.ID(), true)
		if err != nil {
			return err
		}
		old, there := unfinished(all)
		if there && old.Number != t.by.job.Generation { // of a job that failed
			there = false
			if err := discard(ctx, tx, old); err != nil {
				return err
			}
			if all, err = generations(ctx, tx, t.p.ID(), true); err != nil {
				return err
			}
		}
		if !there {
			if old, there = inState(all, retired); !there {
				return ErrNoGeneration
			}
		}
		g, err = old.own(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	b, err := t.on(ctx, g)
	if err != nil {
		return err
	}
	if err := b.catchUp(ctx); err != nil {
		return err
	}
	return t.finish(ctx, b)
}

// Cancel ends a job that has not ended, wherever it is worked on. What it has built is thrown away.
func (w *Workshop) Cancel(ctx context.Context, id ID) error {
	const q = `
		UPDATE atlas.projection_jobs SET state = 'cancelled', ended_at = clock_timestamp(), pid = NULL, session_at = NULL
		WHERE name = $1 AND version = $2 AND ended_at IS NULL`
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, q, id.Name, id.Version)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoJob
		}
		all, err := generations(ctx, tx, id, true)
		if err != nil {
			return err
		}
		if b, there := unfinished(all); there {
			return discard(ctx, tx, b)
		}
		return nil
	})
}

// discard drops a generation that is not going to be finished. One that was live before stays for another rollback.
func discard(ctx context.Context, tx pgx.Tx, g generation) error {
	rolling, err := rollingBack(ctx, tx, g)
	if err != nil {
		return err
	}
	if rolling {
		return g.setState(ctx, tx, retired, false)
	}
	return g.drop(ctx, tx)
}

// Run does the jobs that were asked for, one at a time, until ctx ends. Any number of processes may.
func (w *Workshop) Run(ctx context.Context) error {
	for {
		if err := w.serve(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("work on projections failed", "error", err)
		}
		if !wait.For(ctx, servePause) {
			return nil
		}
	}
}

// servePause is how often a process looks for work.
const servePause = time.Second

// serve does one job, if there is one that nobody works on and that this binary can do.
func (w *Workshop) serve(ctx context.Context) error {
	rows, err := w.pool.Query(ctx, `SELECT `+jobColumns+` FROM atlas.projection_jobs j WHERE served AND ended_at IS NULL ORDER BY id`)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, scanJob)
	if err != nil {
		return err
	}
	for _, j := range all {
		if _, mine := w.projections[j.ID]; !mine || j.State == "running" && !j.Abandoned {
			continue
		}
		if err := requireKnown(ctx, w.pool, w.store.Vocabulary(), j.ID); errors.Is(err, ErrForeign) {
			continue // it waits for a process of the newer release
		} else if err != nil {
			return err
		}
		worker, err := w.take(ctx, j)
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := w.work(ctx, worker, func(Job) {}); err != nil {
			return fmt.Errorf("%s %s: %w", j.Kind, j.ID.Name, err)
		}
	}
	return nil
}
