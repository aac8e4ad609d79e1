package eventstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/wait"
)

// ErrDetached says that what was to be read lies in a part of the log that is detached: no reader skips it.
var ErrDetached = fault.ErrDetached

// ErrPart says why a part of the log cannot be detached or attached: a mistake of whoever asks. Nothing has changed then.
var ErrPart = fault.New(fault.Invalid, "log_part_refused", "this part of the log cannot be detached, or attached, now")

// What a query says to be refused where it would read over a detached part. The function is called only where there is
// one, once per query: without one it costs a look at an empty table. A query all of whose parts are away has nowhere to
// say it, so who finds nothing asks once more before believing it.
const (
	// RangeAttached is for a query over positions after $1 up to $2.
	RangeAttached = `CASE WHEN EXISTS (SELECT FROM atlas.detached_parts) THEN atlas.require_range($1, $2) ELSE true END`
	// StreamAttached is for a query over the stream $1 from version $2 on.
	StreamAttached = `CASE WHEN EXISTS (SELECT FROM atlas.detached_parts) THEN atlas.require_stream($1, $2) ELSE true END`
)

// requireAttached asks again for a query that found nothing. The condition's parameters are the query's.
func (s *Store) requireAttached(ctx context.Context, q querier, condition string, args ...any) error {
	var attached bool
	return s.retry(ctx, q, func() error { return q.QueryRow(ctx, `SELECT `+condition, args...).Scan(&attached) })
}

// RequireRange is ErrDetached where a part is detached that overlaps the positions after one up to another.
func (s *Store) RequireRange(ctx context.Context, after, upto int64) error {
	return Detached(s.requireAttached(ctx, s.pool, RangeAttached, after, upto))
}

// RequireStream is ErrDetached where events of the stream lie in a detached part.
func (s *Store) RequireStream(ctx context.Context, stream Stream) error {
	return Detached(s.requireAttached(ctx, s.pool, StreamAttached, stream.String(), 1))
}

// Detached turns the database's refusal to read over a detached part into ErrDetached, and leaves other errors alone.
func Detached(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "AT006" {
		return fmt.Errorf("%w (%s)", ErrDetached, pg.Message)
	}
	return err
}

// Part is one part of the log: a table of its own for a range of positions.
type Part struct {
	Number      int64
	Name        string
	First, Last int64 // the positions it may hold
	Events      int64 // about how many it holds; exact to what the database's statistics know
	Bytes       int64 // with its indexes
	Attached    bool
	Here        bool // in this database; only a detached part may be elsewhere
}

// Parts lists the parts of the log by position.
func (s *Store) Parts(ctx context.Context) ([]Part, error) {
	const q = `
		SELECT p.n, 'events_' || p.n, p.n * 33554432, (p.n + 1) * 33554432 - 1,
			greatest(c.reltuples::bigint, st.n_live_tup, 0), coalesce(pg_total_relation_size(c.oid), 0),
			d.part IS NULL, c.oid IS NOT NULL
		FROM (
			SELECT substring(c.relname FROM 8)::bigint AS n
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'atlas.events'::regclass
			UNION SELECT part FROM atlas.detached_parts
		) p
		LEFT JOIN atlas.detached_parts d ON d.part = p.n
		LEFT JOIN pg_class c ON c.oid = to_regclass('atlas.events_' || p.n)
		LEFT JOIN pg_stat_all_tables st ON st.relid = c.oid
		ORDER BY p.n`
	rows, err := s.pool.Query(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list parts: %w", unavailable(err))
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Part])
	if err != nil {
		return nil, fmt.Errorf("list parts: %w", unavailable(err))
	}
	return parts, nil
}

// DetachPart detaches a part, which becomes a table of its own. Until it is attached again, whoever would read over it
// gets ErrDetached. The part that is written to stays: ErrPart, as for a part that there is not, or that is detached already.
func (s *Store) DetachPart(ctx context.Context, number int64) error {
	if err := s.movePart(ctx, `SELECT atlas.detach_part($1)`, number); err != nil {
		return fmt.Errorf("detach part %d: %w", number, err)
	}
	return nil
}

// AttachPart attaches a part again, whose table must be in the database under its old name and as it was; else ErrPart.
func (s *Store) AttachPart(ctx context.Context, number int64) error {
	if err := s.movePart(ctx, `SELECT atlas.attach_part($1)`, number); err != nil {
		return fmt.Errorf("attach part %d: %w", number, err)
	}
	return nil
}

func (s *Store) movePart(ctx context.Context, sql string, number int64) error {
	parts, err := s.Parts(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(parts, func(p Part) bool { return p.Number == number }) {
		return ErrPart.Because("the log has no part of that number")
	}
	return partRefused(s.patiently(ctx, sql, number))
}

// partRefused turns what the database says of a part that does not move into a sentence.
func partRefused(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "AT004":
		return ErrPart.Because(pg.Message)
	case "42P01": // undefined_table: it is no partition any more
		return ErrPart.Because("it is detached already")
	case "42501": // insufficient_privilege
		return ErrPart.Because("only the role that owns the log's tables may do that; connect as that role")
	case "23514", "42804", "42P16": // check_violation, datatype_mismatch, invalid_table_definition
		return ErrPart.Because(fmt.Sprintf("the table that is there is not the part that was detached (%s)", pg.Message))
	case "55P03": // lock_not_available
		return fmt.Errorf("some reader or writer was in the way all the time; try again (%w)", err)
	}
	return err
}

// patience is how often a statement that gives up on a lock after a moment is tried.
const patience = 50

// patiently runs a statement that gives up on a lock after a moment, so that nobody queues behind it for longer, and
// runs it again a little later.
func (s *Store) patiently(ctx context.Context, sql string, args ...any) error {
	for attempt := 1; ; attempt++ {
		_, err := s.pool.Exec(ctx, sql, args...)
		if err == nil || !hasState(err, "55P03") || attempt == patience {
			return unavailable(err)
		}
		if !wait.For(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}
