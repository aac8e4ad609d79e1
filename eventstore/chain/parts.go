package chain

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// span is a range of positions: from the first to below the end.
type span struct{ from, to int64 }

var bounds = regexp.MustCompile(`^FOR VALUES FROM \('?(\d+)'?\) TO \('?(\d+)'?\)$`)

// attached returns which positions the log has parts for, in order.
func attached(ctx context.Context, q querier) ([]span, error) {
	const sql = `
		SELECT pg_get_expr(c.relpartbound, c.oid)
		FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'atlas.events'::regclass AND NOT i.inhdetachpending`
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read parts: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s span, err error) {
		var text string
		if err := row.Scan(&text); err != nil {
			return s, err
		}
		m := bounds.FindStringSubmatch(text)
		if m == nil {
			return s, fmt.Errorf("a part of the log is bounded by %q", text)
		}
		s.from, err = strconv.ParseInt(m[1], 10, 64)
		if err == nil {
			s.to, err = strconv.ParseInt(m[2], 10, 64)
		}
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read parts: %w", err)
	}
	slices.SortFunc(all, func(a, b span) int { return int(a.from - b.from) })
	return all, nil
}

// lost returns the range without a part that the position lies in; found is false where there is a part for it.
func lost(parts []span, position int64) (gap Missing, found bool) {
	gap = Missing{After: -1, Last: -1} // -1: no part above it
	for _, s := range parts {
		switch {
		case position >= s.from && position < s.to:
			return Missing{}, false
		case s.to <= position:
			gap.After = s.to - 1
		case gap.Last < 0:
			gap.Last = s.from - 1
		}
	}
	return gap, true
}
