package eventstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/postgres"
)

const eventColumns = `position, version, recorded_at, id, subject, schema_version, stream, type, data, metadata, sealed`

// Load returns the events of a stream, from a version on, in order. Secret fields stay closed. A stream that does not
// exist has no events.
func (s *Store) Load(ctx context.Context, stream Stream, from int64) ([]*Recorded, error) {
	return s.load(ctx, stream, from, false)
}

// LoadWithSecrets is Load for commands, the only readers that see secret fields.
func (s *Store) LoadWithSecrets(ctx context.Context, stream Stream, from int64) ([]*Recorded, error) {
	return s.load(ctx, stream, from, true)
}

// load needs no horizon: versions are drawn under the stream's row lock, so what is visible of a stream has no holes.
func (s *Store) load(ctx context.Context, stream Stream, from int64, secrets bool) (all []*Recorded, err error) {
	const q = `
		SELECT e.*
		FROM atlas.streams s
		CROSS JOIN LATERAL (
			SELECT ` + eventColumns + `, CASE WHEN $4 THEN secret END, 0
			FROM atlas.events
			WHERE stream = $1 AND version >= $2 AND position >= s.first_position AND position <= s.last_position
			ORDER BY version
			LIMIT $3
		) e
		WHERE s.stream = $1 AND ` + StreamAttached + `
		ORDER BY e.version`
	for {
		page, err := s.read(ctx, s.pool, q, stream.String(), from, pageSize, secrets)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", stream, err)
		}
		all = append(all, page...)
		if len(page) < pageSize {
			return all, nil
		}
		from = page[len(page)-1].Version + 1
	}
}

// read fetches events and opens what is sealed in them.
func (s *Store) read(ctx context.Context, q querier, sql string, args ...any) ([]*Recorded, error) {
	found, err := s.fetch(ctx, q, sql, args...)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, found)
}

// fetch scans events.
func (s *Store) fetch(ctx context.Context, q querier, sql string, args ...any) (found []closed, err error) {
	err = s.retry(ctx, q, func() error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, newRow(s.vocabulary).scan)
		return err
	})
	return found, Detached(err)
}

// retry runs a read again when its connection was lost: a pool only learns that a server is gone by using what it had.
// A connection of the caller's own is not retried on; only the caller can get another.
func (s *Store) retry(ctx context.Context, q querier, read func() error) error {
	for attempt := 1; ; attempt++ {
		err := read()
		if err == nil || q != querier(s.pool) || !postgres.IsConnectionLost(err) || pause(ctx, attempt) != nil {
			return unavailable(err)
		}
	}
}

// closed is an event whose personal parts are still sealed.
type closed struct {
	recorded               *Recorded
	sealed, secret, client *Envelope
	weight                 int64 // bytes that are stored of what it says, where the query counts them
}
