package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
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
	return l.print(ctx, w, q)
}

// Follow writes events as lines as they become final, until ctx ends. It comes to the last event and no further, since a
// crash of the server may hand out again the positions above it.
func (l *Log) Follow(ctx context.Context, w io.Writer, q Query) error {
	for q.From = max(q.From, 1); ; {
		last, err := l.Store.Last(ctx)
		if err == nil && last >= q.From {
			q.To = last
			err = l.print(ctx, w, q)
			q.From = last + 1
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !wait.For(ctx, pollInterval) {
			return nil
		}
	}
}

// print writes the events of a range.
func (l *Log) print(ctx context.Context, w io.Writer, q Query) error {
	p := printer{log: l, out: w, unseal: q.Unseal}
	left := int64(math.MaxInt64)
	if q.Limit > 0 {
		left = q.Limit
	}
	for after := q.From - 1; after < q.To && left > 0; {
		limit := min(left, pageSize)
		read, last, err := l.page(ctx, after, q.To, q.Filter, limit, false, func(e *Event) error { return p.add(ctx, e) })
		if err != nil {
			return err
		}
		left -= read
		if read < limit {
			break
		}
		after = last
	}
	return p.flush(ctx)
}

// page calls f with the events after a position, as they come from the database; f may keep them. It returns how many
// there were and the position of the last.
func (l *Log) page(ctx context.Context, after, upto int64, f eventstore.Filter, limit int64, secrets bool, each func(*Event) error) (read, last int64, err error) {
	const all = `
		SELECT ` + columns + `, CASE WHEN $4 THEN secret END
		FROM atlas.events
		WHERE position > $1 AND position <= $2 AND ` + eventstore.RangeAttached + `
			AND ($5::text[] IS NULL OR split_part(stream, '-', 1) = ANY ($5))
		ORDER BY position
		LIMIT $3`
	const chosen = `
		SELECT ` + columns + `, CASE WHEN $4 THEN secret END
		FROM atlas.events
		WHERE position = ANY ($3) AND ` + eventstore.RangeAttached + `
		ORDER BY position`
	sql, args := all, []any{after, upto, limit, secrets, orNull(f.Categories)}
	if !f.Empty() {
		positions, known, err := l.Store.Positions(ctx, after, upto, f, int(limit))
		if err != nil || known && len(positions) == 0 {
			return 0, after, err
		}
		if known {
			sql, args = chosen, []any{after, upto, positions, secrets}
		}
	}
	err = l.query(ctx, sql, args, func(e *Event) error {
		read, last = read+1, e.Position
		return each(e)
	})
	if err == nil && read == 0 {
		err = l.Store.RequireRange(ctx, after, upto)
	}
	if err != nil {
		return read, last, fmt.Errorf("read after %d: %w", after, err)
	}
	return read, last, nil
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
	if err := l.Store.RequireStream(ctx, *q.Stream); err != nil {
		return err
	}
	p := printer{log: l, out: w, unseal: q.Unseal}
	args := []any{name, 1, q.From, q.To, orNull(q.Filter.Types), q.Limit}
	if err := l.query(ctx, sql, args, func(e *Event) error { return p.add(ctx, e) }); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return p.flush(ctx)
}

// query calls f with each event of the result as it comes.
func (l *Log) query(ctx context.Context, sql string, args []any, f func(*Event) error) error {
	rows, err := l.Pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e Event
		err := rows.Scan(&e.Position, &e.Stream, &e.Version, &e.ID, &e.Type, &e.Schema, &e.RecordedAt, &e.Subject,
			(*[]byte)(&e.Data), (*[]byte)(&e.Metadata), &e.Sealed, &e.Secret)
		if err != nil {
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
	}
	return eventstore.Detached(rows.Err())
}

// printer writes events as lines, some at a time, without what stays within Atlas, and with what is sealed opened where
// that is asked for.
type printer struct {
	log    *Log
	out    io.Writer
	unseal bool
	held   []*Event
	bytes  int
}

func (p *printer) add(ctx context.Context, e *Event) error {
	p.held = append(p.held, e)
	p.bytes += len(e.Data) + len(e.Metadata) + len(e.Sealed)
	if len(p.held) < 500 && p.bytes < 1<<20 {
		return nil
	}
	return p.flush(ctx)
}

func (p *printer) flush(ctx context.Context) error {
	if p.unseal {
		if err := p.log.unseal(ctx, p.held); err != nil {
			return err
		}
	}
	var lines []byte
	for _, e := range p.held {
		if err := p.log.outside(e); err != nil {
			return fmt.Errorf("event at %d: %w", e.Position, err)
		}
		lines = e.appendLine(lines)
	}
	p.held, p.bytes = nil, 0
	_, err := p.out.Write(lines)
	return err
}

// outside leaves out of an event what stays within Atlas. Of a type that is not this binary's nobody here knows what that is.
func (l *Log) outside(e *Event) error {
	typ, err := l.Store.Vocabulary().Named(e.Type)
	if err != nil {
		return nil
	}
	e.Data, err = typ.Outside(e.Data)
	return err
}

func (l *Log) unseal(ctx context.Context, all []*Event) error {
	var envelopes []*eventstore.Envelope
	var of []*Event
	for _, e := range all {
		if e.Sealed != nil && e.Subject != nil {
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
