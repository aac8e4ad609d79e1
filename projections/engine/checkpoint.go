package engine

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// ErrLagging says that a read table has not come as far as the reader asked in the time it was given.
var ErrLagging = fault.New(fault.Unavailable, "projection_lagging", "the view has not caught up with that position yet; try again")

// errTurnLost says that another node moved the checkpoint first.
var errTurnLost = errors.New("another node was faster")

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the table of checkpoints and the schema of the read tables.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "projections", FS: sub, Grants: grants}
}

// Prepare makes the projections' tables and checkpoints where they are missing. Several nodes may do so at once.
func Prepare(ctx context.Context, pool *pgxpool.Pool, projections []Projection) error {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('atlas.projections', 0))`
	const insert = `INSERT INTO atlas.projections (name, version) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	const subject = `
		UPDATE atlas.projections SET subject = nullif($3, '')
		WHERE name = $1 AND version = $2 AND subject IS DISTINCT FROM nullif($3, '')`
	if err := distinct(projections); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lock); err != nil {
			return err
		}
		for _, p := range projections {
			if err := p.prepare(ctx, tx); err != nil {
				return fmt.Errorf("projection %s: %w", p.ID().Name, err)
			}
			if _, err := tx.Exec(ctx, insert, p.ID().Name, p.ID().Version); err != nil {
				return err
			}
			if s, ok := p.(standing); ok {
				if _, err := tx.Exec(ctx, subject, p.ID().Name, p.ID().Version, s.subjectColumn()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// distinct refuses two projections of one name and version: each would take the other's turns, and see half the events.
func distinct(projections []Projection) error {
	seen := map[ID]bool{}
	for _, p := range projections {
		if seen[p.ID()] {
			return fmt.Errorf("projection %s is declared twice", p.ID())
		}
		seen[p.ID()] = true
	}
	return nil
}

// position reads how far the live generation of a version has come.
func position(ctx context.Context, pool *pgxpool.Pool, id ID) (at int64, err error) {
	const q = `SELECT position FROM atlas.projections WHERE name = $1 AND version = $2 AND state = 'live'`
	if err = pool.QueryRow(ctx, q, id.Name, id.Version).Scan(&at); err != nil {
		return 0, fmt.Errorf("read checkpoint of %s: %w", id, err)
	}
	return at, nil
}

// Status is how a projection is doing.
type Status struct {
	ID         ID
	Generation int // whose rows readers see
	Position   int64
	Lag        int64 // positions between it and the newest event
	MovedAt    time.Time
	Parked     int64  // keys whose events cannot be folded
	Error      string // why it stands still; empty if it does not
	ErrorAt    *time.Time
}

// List returns the status of every projection version in the database, given the position of the newest event.
func List(ctx context.Context, pool *pgxpool.Pool, newest int64) ([]Status, error) {
	const q = `
		SELECT name, version, generation, position, greatest($1 - position, 0), moved_at, coalesce(error, ''), error_at, parked
		FROM atlas.projections WHERE state = 'live' ORDER BY name, version`
	rows, err := pool.Query(ctx, q, newest)
	if err != nil {
		return nil, fmt.Errorf("list projections: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Status, err error) {
		return s, row.Scan(&s.ID.Name, &s.ID.Version, &s.Generation, &s.Position, &s.Lag, &s.MovedAt, &s.Error, &s.ErrorAt, &s.Parked)
	})
}
