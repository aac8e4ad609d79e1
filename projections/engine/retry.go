package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// Parked is a key of a projection whose events cannot be folded: its row stays as it was before the first of them, until
// a retry succeeds.
type Parked struct {
	ID         ID
	Generation int
	Key        string    // the row's key columns, as JSON
	Subject    uuid.UUID // whom the event that failed is about, if anybody
	Position   int64     // of the event that failed
	Error      string
	Attempts   int
	Since      time.Time // when it failed first
	FailedAt   time.Time // and last
	NextAt     time.Time // when a runner tries again by itself
	Waiting    int64     // events that wait, the one that failed among them
}

// ListParked returns up to limit parked keys of a projection, in the order of their keys, after a key.
func ListParked(ctx context.Context, pool *pgxpool.Pool, id ID, after string, limit int) ([]Parked, error) {
	const q = `
		SELECT generation, key, coalesce(subject, '00000000-0000-0000-0000-000000000000'), position, error, attempts,
			since, failed_at, next_at,
			(SELECT count(*) FROM atlas.projection_held h
				WHERE (h.name, h.version, h.generation, h.key) = (p.name, p.version, p.generation, p.key))
		FROM atlas.projection_parked p
		WHERE name = $1 AND version = $2 AND key > $3
		ORDER BY key, generation
		LIMIT $4`
	rows, err := pool.Query(ctx, q, id.Name, id.Version, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list parked keys of %s: %w", id, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Parked, err error) {
		p.ID = id
		return p, row.Scan(&p.Generation, &p.Key, &p.Subject, &p.Position, &p.Error, &p.Attempts, &p.Since, &p.FailedAt, &p.NextAt, &p.Waiting)
	})
}

// Choice says which parked keys to retry. The zero value chooses all.
type Choice struct {
	Key   string // the one with this key, as it is listed: JSON, in whatever order
	Error string // those whose error contains this
}

// Retried says what came of a retry.
type Retried struct {
	Healed int // keys whose events are all folded
	Failed int // keys that are parked still; their error is the new one
}

// Retry folds the events that wait for parked keys, each key's in order, as far as they can be. It may be called in any
// process that was compiled with the projection, whichever runs it.
func Retry(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, p Projection, which Choice) (done Retried, err error) {
	const q = `
		SELECT generation, key FROM atlas.projection_parked
		WHERE name = $1 AND version = $2 AND ($3 = '' OR key::jsonb = nullif($3, '')::jsonb) AND strpos(error, $4) > 0
		ORDER BY position, key`
	rows, err := pool.Query(ctx, q, p.ID().Name, p.ID().Version, which.Key, which.Error)
	if err != nil {
		return done, fmt.Errorf("retry %s: %w", p.ID(), err)
	}
	chosen, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k waitingKey, err error) {
		k.ID = p.ID()
		return k, row.Scan(&k.Generation, &k.key)
	})
	if err != nil {
		return done, fmt.Errorf("retry %s: %w", p.ID(), err)
	}
	for _, k := range chosen {
		healed, err := k.retry(ctx, store, pool, p)
		if err != nil {
			return done, fmt.Errorf("retry %s of %s: %w", k.key, p.ID(), err)
		}
		if healed {
			done.Healed++
		} else {
			done.Failed++
		}
	}
	return done, nil
}

// waitingKey is a parked key of a generation.
type waitingKey struct {
	place
	key string
}

// heldAtOnce is how many of the events that wait for a key are folded in one transaction.
const heldAtOnce = 256

// retry folds what waits for the key, until nothing does or an event fails.
func (k waitingKey) retry(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, p Projection) (healed bool, err error) {
	for ended := false; !ended && err == nil; {
		err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			ended, healed, err = k.some(ctx, tx, store, p)
			return err
		})
	}
	return healed, err
}

// some folds some of what waits. While it has the checkpoint locked no runner adds to it. ended says that there is no
// more to do.
func (k waitingKey) some(ctx context.Context, tx pgx.Tx, store *eventstore.Store, p Projection) (ended, healed bool, err error) {
	const settings = `SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '10s'; SET LOCAL synchronous_commit = off;
		SELECT ` + byIndex
	const lock = `SELECT FROM atlas.projections WHERE name = $1 AND version = $2 AND generation = $3 FOR UPDATE`
	if _, err := tx.Exec(ctx, settings); err != nil {
		return false, false, err
	}
	if _, err := tx.Exec(ctx, lock, k.Name, k.Version, k.Generation); err != nil {
		return false, false, err
	}
	batch, err := k.next(ctx, tx, store)
	if err != nil {
		return false, false, err
	}
	done, cause, err := p.retry(ctx, tx, k.Generation, k.key, batch)
	if err != nil {
		return false, false, err
	}
	if err := k.release(ctx, tx, batch[:done]); err != nil {
		return false, false, err
	}
	if cause != nil {
		return true, false, k.failed(ctx, tx, batch[done], cause)
	}
	if len(batch) == heldAtOnce {
		return false, false, nil
	}
	return true, true, k.heal(ctx, tx)
}

// next returns the first events that wait.
func (k waitingKey) next(ctx context.Context, tx pgx.Tx, store *eventstore.Store) ([]*eventstore.Recorded, error) {
	const q = `
		SELECT position FROM atlas.projection_held
		WHERE name = $1 AND version = $2 AND generation = $3 AND key = $4
		ORDER BY position LIMIT $5`
	rows, err := tx.Query(ctx, q, k.Name, k.Version, k.Generation, k.key, heldAtOnce)
	if err != nil {
		return nil, err
	}
	positions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	return store.ReadPositions(ctx, positions)
}

// release forgets the positions of events that are folded.
func (k waitingKey) release(ctx context.Context, tx pgx.Tx, folded []*eventstore.Recorded) error {
	const q = `DELETE FROM atlas.projection_held WHERE name = $1 AND version = $2 AND generation = $3 AND key = $4 AND position <= $5`
	if len(folded) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, q, k.Name, k.Version, k.Generation, k.key, folded[len(folded)-1].Position)
	return err
}

func (k waitingKey) failed(ctx context.Context, tx pgx.Tx, r *eventstore.Recorded, cause error) error {
	const q = `
		UPDATE atlas.projection_parked SET position = $5, error = $6, attempts = attempts + 1, failed_at = clock_timestamp(),
			next_at = clock_timestamp() + least($7::interval * power(2, least(attempts, 20)), $8::interval)
		WHERE name = $1 AND version = $2 AND generation = $3 AND key = $4`
	_, err := tx.Exec(ctx, q, k.Name, k.Version, k.Generation, k.key, r.Position, reason(cause), firstRetry, lastRetry)
	return err
}

// heal says that nothing waits for the key any more.
func (k waitingKey) heal(ctx context.Context, tx pgx.Tx) error {
	const free = `DELETE FROM atlas.projection_parked WHERE name = $1 AND version = $2 AND generation = $3 AND key = $4`
	const count = `UPDATE atlas.projections SET parked = parked - 1 WHERE name = $1 AND version = $2 AND generation = $3`
	freed, err := tx.Exec(ctx, free, k.Name, k.Version, k.Generation, k.key)
	if err != nil || freed.RowsAffected() == 0 {
		return err
	}
	_, err = tx.Exec(ctx, count, k.Name, k.Version, k.Generation)
	return err
}

// retrySoon has the parked keys tried again: whoever takes a projection may have the fold that was mended.
func retrySoon(ctx context.Context, conn *pgxpool.Conn, at place) error {
	const q = `UPDATE atlas.projection_parked SET next_at = clock_timestamp() WHERE name = $1 AND version = $2 AND generation = $3`
	_, err := conn.Exec(ctx, q, at.Name, at.Version, at.Generation)
	return err
}

// retryLook is how often a runner looks for parked keys whose time has come.
const retryLook = time.Second

// keepRetrying tries the parked keys of what the process holds again, each when its time has come.
func (r *Runner) keepRetrying(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.retryDue(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("parked keys not retried", "error", err)
		}
		wait.For(ctx, retryLook)
	}
}

// retryDue tries some of those whose time has come.
func (r *Runner) retryDue(ctx context.Context) error {
	const q = `
		SELECT k.name, k.version, k.generation, k.key
		FROM atlas.projections p JOIN atlas.projection_parked k USING (name, version, generation)
		WHERE p.holder = $1 AND p.parked > 0 AND p.state IN ('live', 'following') AND k.next_at <= clock_timestamp()
		ORDER BY k.next_at LIMIT 16`
	rows, err := r.pool.Query(ctx, q, r.presence.id)
	if err != nil {
		return err
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k waitingKey, err error) {
		return k, row.Scan(&k.Name, &k.Version, &k.Generation, &k.key)
	})
	if err != nil {
		return err
	}
	for _, k := range due {
		healed, err := k.retry(ctx, r.store, r.pool, r.known[k.ID])
		if err != nil {
			return fmt.Errorf("retry %s of %s: %w", k.key, k.ID, err)
		}
		r.log.Info("parked key retried", "projection", k.Name, "healed", healed)
	}
	return nil
}
