package eventstore

import (
	"context"
	"fmt"

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

// What find asks the two indexes. It compares rows, (type, position), and orders by them, which no other index can
// serve: so whatever PostgreSQL believes about how common a type is, or how few events there are beyond the last it
// has statistics of, it does not scan the log. Each name's positions are taken by themselves, in order, and no more
// than can be needed. The position alone is not compared, since that would be for the primary key to serve; so no part
// of the log is pruned, and one that cannot hold what is looked for costs a look at the top of its index.
const (
	findTypes      = findHead + `(type, position) > (wanted.name, $1) AND (type, position) <= (wanted.name, $2)`
	findCategories = findHead + `(` + category + `, position) > (wanted.name, $1) AND (` + category + `, position) <= (wanted.name, $2)`

	findHead = `
		SELECT found.position
		FROM unnest($4::text[]) AS wanted (name)
		CROSS JOIN LATERAL (
			SELECT position
			FROM atlas.events
			WHERE ` + RangeAttached + ` AND `
	findTail = `
			LIMIT $3
		) found
		ORDER BY found.position
		LIMIT $3`
)

// Positions returns the positions of the next events after one and not beyond upto that the filter, which must not be
// empty, chooses: at most limit, in order, however far away they are. upto must be a horizon, read before.
func (s *Store) Positions(ctx context.Context, after, upto int64, f Filter, limit int) ([]int64, error) {
	positions, err := s.find(ctx, s.pool, after, upto, f, limit)
	if err != nil {
		return nil, fmt.Errorf("find after %d: %w", after, err)
	}
	return positions, nil
}

// find returns the positions of the next events that the filter chooses, at most limit, by an index on types or else on
// categories. Where the filter has both, those of its types are looked at one by one.
func (s *Store) find(ctx context.Context, q querier, after, upto int64, f Filter, limit int) (positions []int64, err error) {
	sql := findCategories + `
			ORDER BY ` + category + `, position` + findTail
	args := append([]any{after, upto, limit}, f.args()...)
	if len(f.Types) > 0 {
		rest := Filter{Categories: f.Categories}
		sql = findTypes + rest.where("$5", "") + `
			ORDER BY type, position` + findTail
	}
	err = s.retry(ctx, q, func() error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		positions, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err == nil && len(positions) == 0 {
		err = s.requireAttached(ctx, q, RangeAttached, after, upto)
	}
	return positions, Detached(err)
}
