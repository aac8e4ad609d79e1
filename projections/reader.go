package projections

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
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
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return row, err
	}
	row, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[R])
	if errors.Is(err, pgx.ErrNoRows) {
		return row, ErrNotFound
	}
	return row, err
}

// many returns all rows of a query.
func many[R any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) ([]R, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[R])
}
