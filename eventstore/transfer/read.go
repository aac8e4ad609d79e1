package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
)

// pageSize is how many events one query fetches.
const pageSize = 2000

// pollInterval is how often Follow looks for new events.
const pollInterval = 200 * time.Millisecond

// Log is what transfer works on: a log, and the database it is in.
type Log struct {
	Pool   *pgxpool.Pool
	Store  *eventstore.Store
	Sealer eventstore.Sealer
}

// Query chooses events to print.
type Query struct {
	From, To int64              // positions, both included; a To of 0 is the horizon
	Stream   *eventstore.Stream // then all its events, by version
	Filter   eventstore.Filter
	Limit    int64 // 0 for no limit
	Unseal   bool  // open sealed fields; secret ones stay closed
}

const columns = `position, stream, version, id, type, schema_version, recorded_at, subject, data, metadata, sealed`

// Read writes the events as lines, up to the horizon of this moment.
func (l *Log) Read(ctx context.Context, w io.Writer, q Query) error {
	horizon, err := l.Store.Horizon(ctx)
	if err != nil {
		return err
	}
	if q.To <= 0 || q.To > horizon {
		q.To = horizon
	}
	if q.Stream != nil {
		return l.printStream(ctx, w, q)
	}
	_, _, err = l.print(ctx, w, q)
	return err
}

// Follow writes events as lines as they become final, until ctx ends.
func (l *Log) Follow(ctx context.Context, w io.Writer, q Query) error {
	after := max(q.From, 1) - 1
	for {
		horizon, err := l.Store.Horizon(ctx)
		if err == nil && horizon > after {
			q.From, q.To = after+1, horizon
			_, after, err = l.print(ctx, w, q)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if horizon < after {
			return fmt.Errorf("the log ends at %d, before the position %d that was read: it is another one", horizon, after)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
	}
}

// print writes the events of a range and returns how far it came.
func (l *Log) print(ctx context.Context, w io.Writer, q Query) (printed, upto int64, err error) {
	for after := q.From - 1; after < q.To; {
		limit := int64(pageSize)
		if q.Limit > 0 {
			limit = min(limit, q.Limit-printed)
		}
		if limit == 0 {
			return printed, after, nil
		}
		page, err := l.page(ctx, after, q.To, q.Filter, limit, false)
		if err != nil {
			return printed, after, err
		}
		if err := l.write(ctx, w, page, q.Unseal); err != nil {
			return printed, after, err
		}
		printed += int64(len(page))
		if int64(len(page)) < limit {
			break
		}
		after = page[len(page)-1].Position
	}
	return printed, q.To, nil
}

// page reads events after a position.
func (l *Log) page(ctx context.Context, after, upto int64, f eventstore.Filter, limit int64, secrets bool) ([]Event, error) {
	const q = `
		SELECT ` + columns + `, CASE WHEN $6 THEN secret END
		FROM atlas.events
		WHERE position > $1 AND position <= $2 AND ` + eventstore.RangeAttached + `
			AND ($3::text[] IS NULL OR type = ANY ($3))
			AND ($4::text[] IS NULL OR split_part(stream, '-', 1) = ANY ($4))
		ORDER BY position
		LIMIT $5`
	page, err := l.query(ctx, q, after, upto, orNull(f.Types), orNull(f.Categories), limit, secrets)
	if err == nil && len(page) == 0 {
		err = l.requireRange(ctx, after, upto)
	}
	if err != nil {
		return nil, fmt.Errorf("read after %d: %w", after, err)
	}
	return page, nil
}

// requireRange refuses where a part of the range is detached.
func (l *Log) requireRange(ctx context.Context, after, upto int64) error {
	return l.Pool.QueryRow(ctx, `SELECT `+eventstore.RangeAttached, after, upto).Scan(new(bool))
}

func (l *Log) printStream(ctx context.Context, w io.Writer, q Query) error {
	const sql = `
		SELECT ` + columns + `, NULL::bytea
		FROM atlas.events
		WHERE stream = $1 AND version >= $2 AND position BETWEEN $3 AND $4
			AND ($5::text[] IS NULL OR type = ANY ($5))
		ORDER BY version
		LIMIT nullif($6::bigint, 0)`
	name := q.Stream.String()
	var attached bool
	err := l.Pool.QueryRow(ctx, `SELECT `+eventstore.StreamAttached, name, 1).Scan(&attached)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	found, err := l.query(ctx, sql, name, 1, q.From, q.To, orNull(q.Filter.Types), q.Limit)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return l.write(ctx, w, found, q.Unseal)
}

func (l *Log) query(ctx context.Context, sql string, args ...any) ([]Event, error) {
	rows, err := l.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		err = row.Scan(&e.Position, &e.Stream, &e.Version, &e.ID, &e.Type, &e.Schema, &e.RecordedAt, &e.Subject,
			(*[]byte)(&e.Data), (*[]byte)(&e.Metadata), &e.Sealed, &e.Secret)
		return e, err
	})
}

// write writes a line for each event, with what is sealed in it opened where that is asked for.
func (l *Log) write(ctx context.Context, w io.Writer, page []Event, unseal bool) error {
	if unseal {
		if err := l.unseal(ctx, page); err != nil {
			return err
		}
	}
	var out []byte
	for i := range page {
		out = page[i].appendLine(out)
	}
	_, err := w.Write(out)
	return err
}

func (l *Log) unseal(ctx context.Context, page []Event) error {
	var envelopes []*eventstore.Envelope
	var of []*Event
	for i := range page {
		if e := &page[i]; e.Sealed != nil && e.Subject != nil {
			envelopes = append(envelopes, eventstore.SealedEnvelope(e.ID, *e.Subject, e.Sealed))
			of = append(of, e)
		}
	}
	if len(envelopes) == 0 {
		return nil
	}
	if err := l.Sealer.Open(ctx, envelopes); err != nil {
		return fmt.Errorf("open sealed fields: %w", err)
	}
	for i, opened := range envelopes {
		if opened.Err != nil {
			return fmt.Errorf("event at %d: %w", of[i].Position, opened.Err)
		}
		of[i].SealedData, of[i].Erased = json.RawMessage(opened.Plain), opened.Plain == nil
	}
	return nil
}

func orNull(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}
