package failures

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// KeptFor is how long failures are kept.
const KeptFor = 30 * 24 * time.Hour

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the table of failures.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(fmt.Sprintf("migrations of failures: %v", err)) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "failures", FS: sub, Grants: grants}
}

// Store keeps the failures.
type Store struct{ pool *pgxpool.Pool }

// NewStore returns a store on a pool.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool} }

// Record counts one failure for an address. Hours are the database's.
func (s *Store) Record(ctx context.Context, address uuid.UUID) error {
	const q = `
		INSERT INTO atlas.sign_in_failures AS f (address_id, hour, failures, last_at)
		VALUES ($1, date_bin('1 hour', statement_timestamp(), 'epoch'), 1, statement_timestamp())
		ON CONFLICT ON CONSTRAINT sign_in_failures_once_an_hour
		DO UPDATE SET failures = f.failures + 1, last_at = greatest(f.last_at, excluded.last_at)`
	_, err := s.pool.Exec(ctx, q, address)
	if postgres.IsConnectionLost(err) {
		return fmt.Errorf("record failed sign-in: %w (%w)", fault.ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("record failed sign-in: %w", err)
	}
	return nil
}

// Hour is what failed for an address in one hour.
type Hour struct {
	Address  uuid.UUID `db:"address_id"`
	Hour     time.Time `db:"hour"` // when it began
	Failures int64     `db:"failures"`
	LastAt   time.Time `db:"last_at"`
}

// List returns the hours since that time, the newest first and in each the most failures first; of one address, or of
// all if that is nil.
func (s *Store) List(ctx context.Context, since time.Time, address *uuid.UUID, limit int) ([]Hour, error) {
	const q = `
		SELECT address_id, hour, failures, last_at
		FROM atlas.sign_in_failures
		WHERE hour >= date_bin('1 hour', $1, 'epoch') AND ($2::uuid IS NULL OR address_id = $2)
		ORDER BY hour DESC, failures DESC, address_id
		LIMIT $3`
	rows, err := s.pool.Query(ctx, q, since, address, limit)
	if err != nil {
		return nil, fmt.Errorf("list failed sign-ins: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Hour])
	if err != nil {
		return nil, fmt.Errorf("list failed sign-ins: %w", err)
	}
	return all, nil
}

// Prune removes the hours that began before that time, and says how many rows that were.
func (s *Store) Prune(ctx context.Context, before time.Time) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM atlas.sign_in_failures WHERE hour < $1`, before)
	if err != nil {
		return 0, fmt.Errorf("prune failed sign-ins: %w", err)
	}
	return tag.RowsAffected(), nil
}

// Pruner returns what removes failures older than KeptFor, now and every hour, until its context ends.
func (s *Store) Pruner(log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Hour)
		defer tick.Stop()
		for {
			if _, err := s.Prune(ctx, time.Now().Add(-KeptFor)); err != nil && ctx.Err() == nil {
				log.Warn("failed sign-ins not pruned", "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}
