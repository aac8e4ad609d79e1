package auth

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

const (
	// RefreshIdle is how long a session may go without a refresh.
	RefreshIdle = 30 * 24 * time.Hour

	// RefreshLifetime is how long a session may live. The caller holds to it: only the session's stream knows its start.
	RefreshLifetime = 90 * 24 * time.Hour

	// refreshGrace is how long the token before the current one is answered without question: requests cross.
	refreshGrace = 30 * time.Second

	// refreshLateEvery is how often it is answered after that: an answer can be lost, but not time and again. Without
	// this bound a thief and the owner could take turns for ever without being noticed.
	refreshLateEvery = 24 * time.Hour
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Grants returns what the application's role may do with it, as SQL; see postgres.MigrationSet.
func Grants() string { return grants }

// Migrations returns the schema of the refresh counters, as SQL files for goose.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(fmt.Sprintf("migrations of auth: %v", err)) // the directory is embedded above
	}
	return sub
}

// Outcome is what came of presenting a refresh token.
type Outcome string

// The outcomes. The first three carry the session's current token.
const (
	Rotated  Outcome = "rotated"  // it was the current one and is replaced
	Replayed Outcome = "replayed" // it was replaced within the last 30 seconds: the same answer again
	Late     Outcome = "late"     // it was replaced before that: the same answer, once in 24 hours; worth an audit
	Reused   Outcome = "reused"   // it was replaced and the answer had arrived: stolen; end the session
	Expired  Outcome = "expired"  // the session was idle for too long
)

// Err returns the fault that tells the client of the outcome, or nil where it gets a token.
func (o Outcome) Err() error {
	switch o {
	case Reused:
		return ErrRefreshTokenReused
	case Expired:
		return ErrRefreshTokenExpired
	}
	return nil
}

// Rotation is what RefreshStore.Rotate decided.
type Rotation struct {
	Outcome Outcome
	Token   Secret // the session's current token; empty with Reused and Expired
}

// Querier runs a query for one row: a pool, a connection or a transaction of pgx.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// RefreshStore keeps the counter of each session's current refresh token.
type RefreshStore struct {
	refresh *Refresh
	db      Querier
}

// NewRefreshStore returns a store on a pool or, to write events along with the counter, on a READ COMMITTED transaction.
func NewRefreshStore(refresh *Refresh, db Querier) *RefreshStore {
	return &RefreshStore{refresh: refresh, db: db}
}

// rotate is a compare-and-set in one statement: however many requests present a token at once, one moves the counter.
//
// The row appears with the first rotation. INSERT … ON CONFLICT is the arbiter of that race and of every later one: it
// waits for whoever holds the row, then decides on the row as that one left it. The WHERE keeps a token whose row is
// gone from making a new one.
//
// Time is the database's: grace must not depend on how well the clocks of the nodes agree. It is the time at which
// the request reached the database, not at which it got the row: having waited for the row must not make it late.
const rotate = `
INSERT INTO atlas.refresh_counters AS c (session_id, counter, rotated_at, outcome)
SELECT $1::uuid, 1, statement_timestamp(), 'rotated'
WHERE $2::bigint = 0 OR EXISTS (SELECT FROM atlas.refresh_counters WHERE session_id = $1)
ON CONFLICT (session_id) DO UPDATE
SET (counter, rotated_at, late_at, outcome) = (
	SELECT
		CASE WHEN decided.outcome = 'rotated' THEN c.counter + 1 ELSE c.counter END,
		CASE WHEN decided.outcome = 'rotated' THEN decided.now ELSE c.rotated_at END,
		CASE WHEN decided.outcome = 'late' THEN decided.now ELSE c.late_at END,
		decided.outcome
	FROM (
		SELECT
			now,
			CASE
				WHEN c.counter - $2 NOT IN (0, 1) THEN 'reused'
				WHEN c.rotated_at < now - $3::interval THEN 'expired'
				WHEN c.counter = $2 THEN 'rotated'
				WHEN c.rotated_at > now - $4::interval THEN 'replayed'
				WHEN c.late_at IS NULL OR c.late_at < now - $5::interval THEN 'late'
				ELSE 'reused'
			END AS outcome
		FROM (SELECT statement_timestamp() AS now) AS clock
	) AS decided
)
RETURNING counter, outcome`

// Rotate presents a session's token, as Refresh.Parse read it. The caller has checked, in the session's stream, that
// the session exists, has not ended and is within RefreshLifetime; it ends the session when the outcome is Reused.
//
// A counter above zero without a row is Reused as well: the session cannot be told from one that ran ahead.
func (s *RefreshStore) Rotate(ctx context.Context, session uuid.UUID, counter uint64) (Rotation, error) {
	var current int64
	var outcome Outcome
	err := s.db.QueryRow(ctx, rotate, session, int64(counter), RefreshIdle, refreshGrace, refreshLateEvery).Scan(&current, &outcome)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Rotation{Outcome: Reused}, nil
	case postgres.IsConnectionLost(err):
		return Rotation{}, fmt.Errorf("rotate refresh token of session %s: %w (%w)", session, fault.ErrUnavailable, err)
	case err != nil:
		return Rotation{}, fmt.Errorf("rotate refresh token of session %s: %w", session, err)
	case outcome.Err() != nil:
		return Rotation{Outcome: outcome}, nil
	}
	return Rotation{Outcome: outcome, Token: s.refresh.Mint(session, uint64(current))}, nil
}

// Prune removes the counters that have not moved for so long, and says how many. Before RefreshLifetime is over none
// may go: the first token of a session whose counter is forgotten would be good again.
func (s *RefreshStore) Prune(ctx context.Context, olderThan time.Duration) (int64, error) {
	if olderThan < RefreshLifetime {
		return 0, fmt.Errorf("prune refresh counters: %v is less than a session may live", olderThan)
	}
	const q = `
		WITH pruned AS (
			DELETE FROM atlas.refresh_counters
			WHERE rotated_at < statement_timestamp() - $1::interval
			RETURNING 1
		)
		SELECT count(*) FROM pruned`
	var n int64
	if err := s.db.QueryRow(ctx, q, olderThan).Scan(&n); err != nil {
		return 0, fmt.Errorf("prune refresh counters: %w", err)
	}
	return n, nil
}

// Pruner returns what removes the counters of sessions that are long over, now and every hour, until its context ends.
// Any number of nodes may run it.
func (s *RefreshStore) Pruner(log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Hour)
		defer tick.Stop()
		for {
			if _, err := s.Prune(ctx, RefreshLifetime); err != nil && ctx.Err() == nil {
				log.Warn("refresh counters not pruned", "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}
