package eventstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// Filter chooses events. The zero value chooses all.
type Filter struct {
	Types      []string // stored names; none means every type
	Categories []string // of streams; none means every category
}

// What one query fetches at most: so many events, and so many bytes of what they say, as they are stored. However large
// they are, one event always comes.
const (
	pageSize  = 1000
	pageBytes = 8 << 20
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
		SELECT ` + eventColumns + `, CASE WHEN $4 THEN secret END, 0
		FROM atlas.events
		WHERE stream = $1 AND version >= $2 AND ` + StreamAttached + `
		ORDER BY version
		LIMIT $3`
	for {
		page, err := s.read(ctx, s.pool, q, stream.String(), from, pageSize, secrets)
		if err == nil && len(page) == 0 {
			err = Detached(s.requireAttached(ctx, s.pool, StreamAttached, stream.String(), from))
		}
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

// ReadAll returns the events after a position and not beyond upto, in the order of the log: at most limit of them, and
// fewer where they are large. The batch says how far it reaches. upto must be a horizon, read before; only up to there
// is the log final.
func (s *Store) ReadAll(ctx context.Context, after, upto int64, f Filter, limit int) (Batch, error) {
	return s.readAll(ctx, s.pool, after, upto, f, limit)
}

// readAll weighs events without fetching them: the size of what is stored out of line is known without reading it.
func (s *Store) readAll(ctx context.Context, q querier, after, upto int64, f Filter, limit int) (Batch, error) {
	const sql = `
		SELECT ` + eventColumns + `, NULL, bytes
		FROM (
			SELECT ` + eventColumns + `, weight, sum(weight) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
			FROM (
				SELECT ` + eventColumns + `, pg_column_size(data) + coalesce(octet_length(sealed), 0) AS weight
				FROM atlas.events
				WHERE position > $1 AND position <= $2 AND ` + RangeAttached + `
					AND ($3::text[] IS NULL OR type = ANY ($3))
					AND ($4::text[] IS NULL OR split_part(stream, '-', 1) = ANY ($4))
				ORDER BY position
				LIMIT $5
			) chosen
		) weighed
		WHERE bytes - weight < $6
		ORDER BY position`
	found, err := s.fetch(ctx, q, sql, after, upto, orNull(f.Types), orNull(f.Categories), limit, pageBytes)
	if err == nil && len(found) == 0 && after < upto {
		err = Detached(s.requireAttached(ctx, q, RangeAttached, after, upto))
	}
	if err != nil {
		return Batch{}, fmt.Errorf("read after %d: %w", after, err)
	}
	if n := len(found); n > 0 && (n == limit || found[n-1].bytes >= pageBytes) {
		upto = found[n-1].recorded.Position
	}
	page, err := s.open(ctx, found)
	if err != nil {
		return Batch{}, fmt.Errorf("read after %d: %w", after, err)
	}
	return Batch{Events: page, Upto: upto}, nil
}

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

func (s *Store) mark(ctx context.Context, q querier) (m mark, err error) {
	const sql = `SELECT atlas.horizon(), last_value, pg_postmaster_start_time() FROM atlas.events_position`
	if err = q.QueryRow(ctx, sql).Scan(&m.horizon, &m.end, &m.started); err != nil {
		return mark{}, fmt.Errorf("read horizon: %w", unavailable(err))
	}
	return m, nil
}

func orNull(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
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
		found, err = pgx.CollectRows(rows, s.scan)
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
	bytes                  int64 // what the query has fetched up to this event, where it counts
}

func (s *Store) scan(row pgx.CollectableRow) (c closed, err error) {
	r := &Recorded{body: &body{vocabulary: s.vocabulary}}
	var stream string
	var subject *uuid.UUID
	var metadata, sealed, secret []byte
	err = row.Scan(&r.Position, &r.Version, &r.At, &r.ID, &subject, &r.Schema, &stream, &r.Type,
		&r.body.parts.Data, &metadata, &sealed, &secret, &c.bytes)
	if err != nil {
		return c, err
	}
	r.At, r.Subject = r.At.UTC(), required(subject)
	if r.Stream, err = ParseStream(stream); err != nil {
		return c, err
	}
	c.recorded = r
	if r.Metadata, c.client, err = decodeMetadata(metadata); err != nil {
		return c, fmt.Errorf("metadata of event %d: %w", r.Position, err)
	}
	if sealed != nil {
		c.sealed = &Envelope{Subject: r.Subject, Bound: bound(r.ID, sealedPart), Sealed: sealed}
	}
	if sealed == nil && secret == nil && r.Subject != uuid.Nil {
		c.sealed = &Envelope{Subject: r.Subject} // which only asks whether the subject is forgotten
	}
	if secret != nil {
		c.secret = &Envelope{Subject: r.Subject, Bound: bound(r.ID, secretPart), Sealed: secret}
	}
	return c, nil
}
