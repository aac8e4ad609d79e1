package eventstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// Horizon returns the position up to which the log is final. It never waits for a writer.
func (s *Store) Horizon(ctx context.Context) (position int64, err error) {
	err = s.retry(ctx, s.pool, func() error { return s.pool.QueryRow(ctx, `SELECT atlas.horizon()`).Scan(&position) })
	if err != nil {
		return 0, fmt.Errorf("read horizon: %w", err)
	}
	return position, nil
}

// End returns the highest position that has been drawn. Not every position up to it holds an event.
func (s *Store) End(ctx context.Context) (position int64, err error) {
	const q = `SELECT last_value FROM atlas.events_position`
	err = s.retry(ctx, s.pool, func() error { return s.pool.QueryRow(ctx, q).Scan(&position) })
	if err != nil {
		return 0, fmt.Errorf("read end of the log: %w", err)
	}
	return position, nil
}

// Last returns the position of the last event that is final: every consumer that keeps up comes to it. The horizon may lie
// above it, where appends were rolled back.
func (s *Store) Last(ctx context.Context) (position int64, err error) {
	horizon, err := s.Horizon(ctx)
	if err != nil {
		return 0, err
	}
	return s.lastEvent(ctx, s.pool, horizon)
}

// lastEvent returns the position of the last event up to a horizon read before.
func (s *Store) lastEvent(ctx context.Context, q querier, horizon int64) (position int64, err error) {
	const sql = `SELECT coalesce(max(position), 0) FROM atlas.events WHERE position <= $1`
	err = s.retry(ctx, q, func() error { return q.QueryRow(ctx, sql, horizon).Scan(&position) })
	if err != nil {
		return 0, fmt.Errorf("read last event: %w", err)
	}
	return position, nil
}

// Newest returns the position of the newest event that can be seen, final or not.
func (s *Store) Newest(ctx context.Context) (position int64, err error) {
	return s.lastEvent(ctx, s.pool, math.MaxInt64)
}

// mark is where the log stands, and which run of which server says so.
type mark struct {
	horizon, end int64
	started      time.Time
}

const markSQL = `SELECT atlas.horizon(), last_value, pg_postmaster_start_time() FROM atlas.events_position`

func (m *mark) scan(row pgx.Row) error { return row.Scan(&m.horizon, &m.end, &m.started) }

func (s *Store) mark(ctx context.Context, q querier) (m mark, err error) {
	if err = m.scan(q.QueryRow(ctx, markSQL)); err != nil {
		return mark{}, fmt.Errorf("read horizon: %w", unavailable(err))
	}
	return m, nil
}
