package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// ErrNotFound says that there is no such row, or that it is not the caller's.
var ErrNotFound = fault.ErrNotFound

// Reader answers queries from the read tables. It is safe for concurrent use.
type Reader struct {
	pool *pgxpool.Pool
}

// NewReader returns a reader over a pool; a replica's will do.
func NewReader(pool *pgxpool.Pool) *Reader { return &Reader{pool: pool} }

// one returns the only row of a query, or ErrNotFound.
func one[R any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (row R, err error) {
	err = read(func() error {
		rows, err := pool.Query(ctx, sql, args...)
		if err == nil {
			row, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[R])
		}
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return row, ErrNotFound
	}
	return row, err
}

// many returns all rows of a query.
func many[R any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (all []R, err error) {
	err = read(func() error {
		rows, err := pool.Query(ctx, sql, args...)
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowToStructByName[R])
		}
		return err
	})
	return all, err
}

// read runs a query, and once more if its connection turns out to be dead, since a pool only learns that by using it. A
// database that is away is ErrUnavailable.
func read(query func() error) error {
	err := query()
	if postgres.IsConnectionLost(err) {
		err = query()
	}
	if postgres.IsConnectionLost(err) {
		return fmt.Errorf("%w (%w)", fault.ErrUnavailable, err)
	}
	return err
}
