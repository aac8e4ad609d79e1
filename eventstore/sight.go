package eventstore

import (
	"context"
	"fmt"
	"time"
)

// Sight is what could be seen of the log at one moment, beyond the horizon too. It is for readers to whom order does not
// matter and who must not wait for an open append. To miss nothing, read on with ReadBeyond from its horizon: what lies
// beyond is seen again, and what was not visible yet is seen then.
type Sight struct {
	Events  []*Recorded
	Horizon int64     // everything up to here was final
	Server  time.Time // when the server started that was read; another one may not hold the same log
}

// ReadRecent returns the visible events of the types that were recorded within the time until now, by the database's
// clock.
func (s *Store) ReadRecent(ctx context.Context, within time.Duration, types []string) (Sight, error) {
	const q = `
		SELECT ` + eventColumns + `, NULL, 0
		FROM atlas.events
		WHERE recorded_at >= now() - $1::interval AND type = ANY ($2)
		ORDER BY position`
	seen, err := s.look(ctx, q, within, types)
	if err != nil {
		return Sight{}, fmt.Errorf("read the last %s: %w", within, err)
	}
	return seen, nil
}

// ReadBeyond returns the visible events of the types after a position.
func (s *Store) ReadBeyond(ctx context.Context, position int64, types []string) (Sight, error) {
	const q = `
		SELECT ` + eventColumns + `, NULL, 0
		FROM atlas.events
		WHERE position > $1 AND type = ANY ($2)
		ORDER BY position`
	seen, err := s.look(ctx, q, position, types)
	if err != nil {
		return Sight{}, fmt.Errorf("read beyond %d: %w", position, err)
	}
	return seen, nil
}

// look reads the horizon and then the events, of one server: on one connection.
func (s *Store) look(ctx context.Context, sql string, args ...any) (seen Sight, err error) {
	err = s.retry(ctx, s.pool, func() error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		m, err := s.mark(ctx, conn)
		if err != nil {
			return err
		}
		seen.Horizon, seen.Server = m.horizon, m.started
		seen.Events, err = s.read(ctx, conn, sql, args...)
		return err
	})
	return seen, err
}
