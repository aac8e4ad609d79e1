package eventstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Where a filter is given, a page first looks at the next events one by one: at lookAhead times as many as it may hold,
// and at leastAhead. That is the faster way while it finds enough for a sparse-th of a page, and costs a few
// milliseconds where it finds nothing.
const (
	lookAhead  = 4
	leastAhead = 1000
	sparse     = 4
)

// reach returns how far a page looks at events one by one.
func (f Filter) reach(after, upto int64, limit int) int64 {
	ahead := int64(max(lookAhead*limit, leastAhead))
	if f.Empty() || upto-after <= ahead {
		return upto
	}
	return after + ahead
}

// rare is how many events a category may have, in all of the log, to be found by its streams. Those of any other are
// looked at one by one, so many positions in a page.
const (
	rare      = 5000
	scanAhead = 50_000
)

// findTypes asks an index for the next events of each type. It compares rows, (type, position), and orders by them, which
// no other index can serve: so whatever PostgreSQL believes about how common a type is, or how few events there are
// beyond the last it has statistics of, it does not scan the log. Each type's positions are taken by themselves, in
// order, and no more than can be needed. The position alone is not compared, since that would be for the primary key to
// serve; so no part of the log is pruned, and one that cannot hold what is looked for costs a look at the top of its
// index.
const findTypes = `
	SELECT found.position
	FROM unnest($4::text[]) AS wanted (type)
	CROSS JOIN LATERAL (
		SELECT position
		FROM atlas.events
		WHERE (type, position) > (wanted.type, $1) AND (type, position) <= (wanted.type, $2) AND ` + RangeAttached

// findCategories asks the index that guards versions, which sorts streams by their category, for all events of each
// category: $3 of them at most, in no order of use. What follows a hyphen is a dot.
const findCategories = `
	SELECT found.position
	FROM unnest($4::text[]) AS wanted (category)
	CROSS JOIN LATERAL (
		SELECT position
		FROM atlas.events
		WHERE stream >= wanted.category || '-' AND stream < wanted.category || '.' AND ` + RangeAttached + `
		ORDER BY stream, version
		LIMIT $3
	) found`

// findStreams asks the index that guards versions for the next events of each stream, whose versions are in the order of
// their positions.
const findStreams = `
	SELECT found.position
	FROM unnest($4::text[]) AS wanted (stream)
	CROSS JOIN LATERAL (
		SELECT position
		FROM atlas.events
		WHERE stream = wanted.stream AND position > $1 AND position <= $2 AND ` + RangeAttached

// Positions returns the positions of the next events after one and not beyond upto that the filter, which must not be
// empty, chooses: at most limit, in order, however far away they are. upto must be a horizon, read before. Where the
// filter has categories alone and they are not rare, it does not know.
func (s *Store) Positions(ctx context.Context, after, upto int64, f Filter, limit int) (positions []int64, known bool, err error) {
	positions, known, err = s.find(ctx, s.pool, after, upto, f, limit)
	if err != nil {
		return nil, false, fmt.Errorf("find after %d: %w", after, err)
	}
	return positions, known, nil
}

func (s *Store) find(ctx context.Context, q querier, after, upto int64, f Filter, limit int) (positions []int64, known bool, err error) {
	switch {
	case len(f.Streams) > 0:
		positions, err = s.findStreams(ctx, q, after, upto, f, limit)
		known = true
	case len(f.Types) > 0:
		positions, err = s.findTypes(ctx, q, after, upto, f, limit)
		known = true
	default:
		positions, known, err = s.findCategories(ctx, q, after, upto, f.Categories, limit)
	}
	if err == nil && len(positions) == 0 {
		err = Detached(s.requireAttached(ctx, q, RangeAttached, after, upto))
	}
	return positions, known, err
}

// findStreams asks the index that guards versions. It passes over what lies at or before after in each stream, in the
// parts of the log that reach beyond it.
func (s *Store) findStreams(ctx context.Context, q querier, after, upto int64, f Filter, limit int) ([]int64, error) {
	rest := Filter{Types: f.Types, Categories: f.Categories}
	sql := findStreams + rest.where(5) + `
		ORDER BY version
		LIMIT $3
	) found
	ORDER BY found.position
	LIMIT $3`
	return s.positions(ctx, q, sql, append([]any{after, upto, limit, f.names()}, rest.args()...)...)
}

// findTypes looks at the events of the filter's types one by one where it has categories too.
func (s *Store) findTypes(ctx context.Context, q querier, after, upto int64, f Filter, limit int) ([]int64, error) {
	rest := Filter{Categories: f.Categories}
	sql := findTypes + rest.where(5) + `
		ORDER BY type, position
		LIMIT $3
	) found
	ORDER BY found.position
	LIMIT $3`
	return s.positions(ctx, q, sql, append([]any{after, upto, limit}, f.args()...)...)
}

func (s *Store) findCategories(ctx context.Context, q querier, after, upto int64, categories []string, limit int) (next []int64, known bool, err error) {
	all, err := s.positions(ctx, q, findCategories, after, upto, rare+1, categories)
	if err != nil || len(all) > rare {
		return nil, false, err
	}
	for _, p := range all {
		if after < p && p <= upto {
			next = append(next, p)
		}
	}
	slices.Sort(next)
	return next[:min(len(next), limit)], true, nil
}

func (s *Store) positions(ctx context.Context, q querier, sql string, args ...any) (positions []int64, err error) {
	err = s.retry(ctx, q, func() error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		positions, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return positions, Detached(err)
}
