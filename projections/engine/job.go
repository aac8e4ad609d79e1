package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
)

var (
	// ErrBusy says that something else is being done to the projection.
	ErrBusy = fault.New(fault.Conflict, "projection_busy", "something else is being done to this projection; wait for it or cancel it")
	// ErrCancelled says that somebody cancelled the work.
	ErrCancelled = fault.New(fault.Conflict, "projection_job_cancelled", "the work was cancelled")
	// ErrNoJob says that nothing is being done.
	ErrNoJob = fault.New(fault.NotFound, "projection_job_missing", "nothing is being done to this projection")
)

// Kind is what can be done to a projection beside its running.
type Kind string

// The kinds of jobs.
const (
	KindRebuild  Kind = "rebuild"
	KindRollback Kind = "rollback"
	KindVerify   Kind = "verify"
)

// Job is something that is done to a projection beside its running, or was.
type Job struct {
	Number     int64
	ID         ID
	Kind       Kind
	State      string // "waiting", "running", "done", "failed", "cancelled"
	Abandoned  bool   // whoever worked on it is gone; it can be gone on with
	Served     bool   // any process with the role projector works on it; else only the command that asked
	Options    Options
	Generation int // that is built; 0 for none
	Phase      string
	Done       int64 // of Total, in the phase
	Total      int64
	Events     int64   // folded so far
	Rate       float64 // of Done, per second
	MadeAt     time.Time
	EndedAt    *time.Time
	Error      string
	Result     json.RawMessage // of a verification: a Verification

	build string
}

// Ended says whether nothing will change any more.
func (j Job) Ended() bool { return j.EndedAt != nil }

// Outrun says that the log grows as fast as the job folds it: at this load the job does not come to its end.
func (j Job) Outrun() bool { return j.Phase == phaseOutrun }

// Left returns how long the phase will take at the rate so far; false where that cannot be told.
func (j Job) Left() (time.Duration, bool) {
	if j.Rate <= 0 || j.Total <= 0 || j.Outrun() {
		return 0, false
	}
	return time.Duration(float64(max(j.Total-j.Done, 0)) / j.Rate * float64(time.Second)), true
}

// workerLives is a condition on a job j: the session of whoever works on it is there.
const workerLives = `EXISTS (
		SELECT FROM pg_stat_activity a WHERE a.pid = j.pid AND (a.backend_start IS NULL OR a.backend_start = j.session_at))`

const jobColumns = `id, name, version, kind, state, served, options, coalesce(generation, 0), phase, done, total, events, rate,
	made_at, ended_at, coalesce(error, ''), result, build,
	state = 'running' AND NOT ` + workerLives

func scanJob(row pgx.CollectableRow) (j Job, err error) {
	return j, row.Scan(&j.Number, &j.ID.Name, &j.ID.Version, &j.Kind, &j.State, &j.Served, &j.Options, &j.Generation, &j.Phase,
		&j.Done, &j.Total, &j.Events, &j.Rate, &j.MadeAt, &j.EndedAt, &j.Error, &j.Result, &j.build, &j.Abandoned)
}

// oneJob returns the job that a condition finds.
func oneJob(ctx context.Context, q querier, condition string, args ...any) (Job, error) {
	rows, err := q.Query(ctx, `SELECT `+jobColumns+` FROM atlas.projection_jobs j WHERE `+condition, args...)
	if err != nil {
		return Job{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanJob)
}

// LastJobs returns the newest job of each version of each projection.
func LastJobs(ctx context.Context, pool *pgxpool.Pool) (map[ID]Job, error) {
	const q = `SELECT DISTINCT ON (name, version) ` + jobColumns + ` FROM atlas.projection_jobs j ORDER BY name, version, id DESC`
	rows, err := pool.Query(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanJob)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	last := map[ID]Job{}
	for _, j := range all {
		last[j.ID] = j
	}
	return last, nil
}

// ask makes a job, or finds the one that is not done yet, if it is of the same kind: then the job is done as this call wants
// it from now on. But a repair that was asked for stays, with the rows that it was asked for, and one that comes when a
// verification without is under way is ErrBusy, since it might come too late for it.
func ask(ctx context.Context, pool *pgxpool.Pool, id ID, kind Kind, served bool, o Options) (Job, error) {
	const forget = `DELETE FROM atlas.projection_jobs WHERE ended_at < now() - interval '30 days'`
	const insert = `
		INSERT INTO atlas.projection_jobs AS j (name, version, kind, served, options) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (name, version) WHERE ended_at IS NULL DO UPDATE
		SET served = j.served OR excluded.served,
			options = CASE
				WHEN (j.options->>'repair')::boolean AND NOT (excluded.options->>'repair')::boolean
				THEN excluded.options || jsonb_build_object('repair', true, 'sample', j.options->'sample')
				ELSE excluded.options
			END
		WHERE j.kind = excluded.kind AND NOT (
			(excluded.options->>'repair')::boolean AND NOT (j.options->>'repair')::boolean AND j.state = 'running' AND ` + workerLives + `)`
	if kind != KindVerify {
		o.Repair = false
	}
	if err := o.check(); err != nil {
		return Job{}, err
	}
	if _, err := pool.Exec(ctx, forget); err != nil {
		return Job{}, err
	}
	for {
		tag, err := pool.Exec(ctx, insert, id.Name, id.Version, kind, served, o)
		if err != nil {
			return Job{}, err
		}
		j, err := oneJob(ctx, pool, `name = $1 AND version = $2 AND ended_at IS NULL`, id.Name, id.Version)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			continue // it ended just now
		case err != nil:
			return j, err
		case tag.RowsAffected() == 0 && j.Kind != kind:
			return j, ErrBusy.Because("a " + string(j.Kind) + " of it has not ended")
		case tag.RowsAffected() == 0 && o.Repair && j.State == "running" && !j.Abandoned && !j.Options.Repair:
			return j, ErrBusy.Because("a verification without a repair has not ended; ask for the repair when it has, or cancel it")
		case tag.RowsAffected() == 0:
			continue // what was in the way ended just now, and this one has not heard of these options
		}
		return j, nil
	}
}

// worker is a process at work on a job. Its session vouches for it: when that is gone, another may go on.
type worker struct {
	conn   *pgxpool.Conn
	job    Job
	before string // the build of whoever worked on it last
	shown  time.Time
	began  time.Time // of the phase
	first  int64     // what was done of the phase then
}

// takeJob takes a job that nobody works on.
func takeJob(ctx context.Context, pool *pgxpool.Pool, number int64, build string) (*worker, error) {
	const q = `
		UPDATE atlas.projection_jobs j
		SET state = 'running', build = $2, pid = pg_backend_pid(), rate = 0,
			session_at = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
		WHERE id = $1 AND ended_at IS NULL AND NOT ` + workerLives + `
		RETURNING options`
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	before, err := oneJob(ctx, conn, `id = $1`, number)
	var o Options // as of now: it may have been asked for anew since
	if err == nil {
		err = conn.QueryRow(ctx, q, number, build).Scan(&o)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrBusy
	}
	if err != nil {
		conn.Release()
		return nil, err
	}
	w := &worker{conn: conn, job: before, before: before.build}
	w.job.State, w.job.build, w.job.Phase, w.job.Options = "running", build, "", o
	return w, nil
}

// tellPause is how often a job's progress is written at most.
const tellPause = 250 * time.Millisecond

// tell writes down how far the job has come, now and then, and hears how it is wanted. It is ErrCancelled where the job is no
// longer the worker's.
func (w *worker) tell(ctx context.Context, phase string, done, total, events int64) error {
	const q = `
		UPDATE atlas.projection_jobs SET phase = $2, done = $3, total = $4, events = $5, rate = $6, generation = nullif($7, 0)
		WHERE id = $1 AND state = 'running' AND pid = pg_backend_pid()
		RETURNING options`
	w.job.Events += events
	if phase != w.job.Phase || w.began.IsZero() || done < w.first {
		w.began, w.first, w.shown = time.Now(), done, time.Time{}
	}
	w.job.Phase, w.job.Done, w.job.Total = phase, done, total
	if time.Since(w.shown) < tellPause {
		return nil
	}
	w.shown = time.Now()
	w.job.Rate = float64(done-w.first) / max(time.Since(w.began).Seconds(), 0.001)
	wanted := w.conn.QueryRow(ctx, q, w.job.Number, phase, done, total, w.job.Events, w.job.Rate, w.job.Generation)
	var o Options // decoded into nothing else, since what JSON leaves out would stay as it was
	err := wanted.Scan(&o)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrCancelled
	}
	if err == nil {
		w.job.Options = o
	}
	return err
}

// end writes down what became of the job. A job that was only interrupted waits for whoever goes on with it.
func (w *worker) end(outcome error, interrupted bool, result any) (Job, error) {
	const q = `
		UPDATE atlas.projection_jobs
		SET state = $2, error = $3, result = coalesce($4, result), pid = NULL, session_at = NULL, done = $5, events = $6,
			ended_at = CASE WHEN $2 = 'waiting' THEN NULL ELSE clock_timestamp() END
		WHERE id = $1 AND ended_at IS NULL AND pid = pg_backend_pid()`
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the job's own may have ended
	defer cancel()
	defer w.conn.Release()
	state, text := "done", (*string)(nil)
	switch {
	case interrupted:
		state = "waiting"
	case outcome != nil:
		said := outcome.Error()
		state, text = "failed", &said
		if errors.Is(outcome, ErrCancelled) {
			state = "cancelled"
		}
	}
	if _, err := w.conn.Exec(ctx, q, w.job.Number, state, text, result, w.job.Done, w.job.Events); err != nil {
		w.conn.Conn().Close(ctx) // so that nobody takes the job for being worked on
		return w.job, errors.Join(outcome, err)
	}
	j, err := oneJob(ctx, w.conn, `id = $1`, w.job.Number)
	if j.State == "cancelled" {
		outcome = ErrCancelled // whatever else it ran into, since its table was taken away
	}
	return j, errors.Join(outcome, err)
}
