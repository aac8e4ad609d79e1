package eventstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What one page holds at most: so many events, and so many bytes of what they say, as they are stored. However large
// they are, one event always comes.
const (
	pageSize  = 1000
	pageBytes = 8 << 20
)

// fill is how much a page may hold.
type fill struct{ events, bytes int }

var fullPage = fill{pageSize, pageBytes}

// light is what an event may weigh to be fetched with the others of its page.
func (f fill) light() int { return f.bytes / max(f.events, 1) }

// A page's query weighs each event by what is stored of it, which is known without reading what lies out of line, and
// leaves out what an event says that would not fit if all of the page were as large. So a page takes no more than
// pageBytes, whatever is in the log. The large ones that still fit are fetched by themselves: the weight is
// $3 or less for all others.
const (
	weight      = `pg_column_size(data) + coalesce(octet_length(sealed), 0)`
	pageColumns = `position, version, recorded_at, id, subject, schema_version, stream, type,
			CASE WHEN ` + weight + ` <= $3 THEN data END, metadata, CASE WHEN ` + weight + ` <= $3 THEN sealed END,
			NULL, ` + weight
)

// ReadAll returns the events after a position and not beyond upto, in the order of the log: at most limit of them and
// never more than 1,000, fewer where they are large or where few are chosen. The batch says how far it reaches. upto
// must be a horizon, read before; only up to there is the log final.
func (s *Store) ReadAll(ctx context.Context, after, upto int64, f Filter, limit int) (Batch, error) {
	return s.readAll(ctx, s.pool, after, upto, f, fill{limit, pageBytes})
}

func (s *Store) readAll(ctx context.Context, q querier, after, upto int64, f Filter, size fill) (Batch, error) {
	size.events = min(size.events, pageSize)
	b, err := s.readPage(ctx, q, after, upto, f, size)
	if err != nil {
		return Batch{}, fmt.Errorf("read after %d: %w", after, err)
	}
	return b, nil
}

// readPage looks at the next events one by one, all of them without a filter. With one that chooses few, it then lets an
// index find the next that are chosen, however far away they are.
func (s *Store) readPage(ctx context.Context, q querier, after, upto int64, f Filter, size fill) (Batch, error) {
	reach := f.reach(after, upto, size.events)
	found, err := s.fetchRange(ctx, q, after, reach, f, size)
	if err == nil && reach < upto && len(found)*sparse < size.events {
		var more []closed
		more, reach, err = s.fetchFar(ctx, q, reach, upto, f, fill{size.events - len(found), size.bytes})
		found = append(found, more...)
	}
	if err != nil {
		return Batch{}, err
	}
	return s.bind(ctx, q, found, reach, size)
}

// bind makes a batch of the events that were found up to a position.
func (s *Store) bind(ctx context.Context, q querier, found []closed, reach int64, size fill) (Batch, error) {
	found, cut, err := s.complete(ctx, q, found, size.bytes)
	if err != nil {
		return Batch{}, err
	}
	if cut || len(found) == size.events {
		reach = found[len(found)-1].recorded.Position
	}
	page, err := s.open(ctx, found)
	return Batch{Events: page, Upto: reach}, err
}

// rangeSQL chooses the events of a range: $4 at most.
func rangeSQL(f Filter) string {
	return `
		SELECT ` + pageColumns + `
		FROM atlas.events
		WHERE position > $1 AND position <= $2 AND ` + RangeAttached + f.where(5) + `
		ORDER BY position
		LIMIT $4`
}

// fetchRange reads the events of a range one by one and returns those that are chosen, at most limit.
func (s *Store) fetchRange(ctx context.Context, q querier, after, upto int64, f Filter, size fill) ([]closed, error) {
	sql := rangeSQL(f)
	found, err := s.fetch(ctx, q, sql, append([]any{after, upto, size.light(), size.events}, f.args()...)...)
	if err == nil && len(found) == 0 && after < upto {
		err = Detached(s.requireAttached(ctx, q, RangeAttached, after, upto))
	}
	return found, err
}

// fetchFar returns the next events that are chosen, at most limit, and how far it has looked.
func (s *Store) fetchFar(ctx context.Context, q querier, after, upto int64, f Filter, size fill) (found []closed, reach int64, err error) {
	positions, known, err := s.find(ctx, q, after, upto, f, size.events)
	if err != nil {
		return nil, 0, err
	}
	if known {
		found, err = s.fetchAt(ctx, q, positions, size.bytes/pageSize)
		return found, upto, err
	}
	reach = min(upto, after+scanAhead)
	found, err = s.fetchRange(ctx, q, after, reach, f, size)
	return found, reach, err
}

// complete cuts a page where it has said enough, and fetches what was left out of the rest.
func (s *Store) complete(ctx context.Context, q querier, page []closed, most int) (whole []closed, cut bool, err error) {
	var large []int64
	var at []int
	bytes := int64(0)
	for i := range page {
		if bytes >= int64(most) {
			page, cut = page[:i], true
			break
		}
		bytes += page[i].weight
		if page[i].recorded.body.parts.Data == nil {
			large, at = append(large, page[i].recorded.Position), append(at, i)
		}
	}
	found, err := s.fetchAt(ctx, q, large, 2*maxEventBytes)
	for i, c := range found {
		page[at[i]] = c
	}
	return page, cut, err
}

// fetchAt returns the events at positions that are known to hold one, in their order. It leaves out what an event says
// that weighs more.
func (s *Store) fetchAt(ctx context.Context, q querier, positions []int64, heaviest int) ([]closed, error) {
	const sql = `
		SELECT ` + pageColumns + `
		FROM atlas.events
		WHERE position = ANY ($4) AND ` + RangeAttached + `
		ORDER BY position`
	if len(positions) == 0 {
		return nil, nil
	}
	first, last := positions[0], positions[len(positions)-1]
	found, err := s.fetch(ctx, q, sql, first-1, last, heaviest, positions)
	if err == nil && len(found) != len(positions) {
		err = errors.Join(Detached(s.requireAttached(ctx, q, RangeAttached, first-1, last)),
			fmt.Errorf("%d events of %d between %d and %d are gone", len(positions)-len(found), len(positions), first, last))
	}
	return found, err
}

// readOn asks where the log stands and for the next events after a position, in one round trip. The server carries out one
// statement after the other, each with a snapshot of its own, as the argument in doc.go needs; what lies beyond the horizon
// is visible and not final, and is dropped.
func (s *Store) readOn(ctx context.Context, conn *pgxpool.Conn, after int64) (m mark, b Batch, err error) {
	var found []closed
	var both pgx.Batch
	both.Queue(markSQL).QueryRow(m.scan)
	both.Queue(rangeSQL(Filter{}), after, int64(math.MaxInt64), fullPage.light(), fullPage.events).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, newRow(s.vocabulary).scan)
		return err
	})
	if err := conn.SendBatch(ctx, &both).Close(); err != nil {
		return m, Batch{}, fmt.Errorf("read on after %d: %w", after, Detached(unavailable(err)))
	}
	full := len(found) == pageSize
	found = slices.DeleteFunc(found, func(c closed) bool { return c.recorded.Position > m.horizon })
	if len(found) == 0 && after < m.horizon {
		if err := Detached(s.requireAttached(ctx, conn, RangeAttached, after, m.horizon)); err != nil {
			return m, Batch{}, err
		}
	}
	reach := max(after, m.horizon)
	if full && len(found) > 0 {
		reach = found[len(found)-1].recorded.Position
	}
	b, err = s.bind(ctx, conn, found, reach, fullPage)
	return m, b, err
}
