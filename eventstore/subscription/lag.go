package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// lagTime returns how long ago the first event was recorded that a group has not come to, 0 where there is none. The log's
// indexes find it as far as they can: metrics ask again and again, and a queue that nobody works for stays where it is, with
// any number of events behind it that it did not choose.
func (l *Log) lagTime(ctx context.Context, s Status, horizon int64) (lag time.Duration, err error) {
	after := s.Position
	if !s.Filter.Empty() {
		next, known, err := l.store.Positions(ctx, after, horizon, s.Filter, 1)
		switch {
		case errors.Is(err, eventstore.ErrDetached): // what is attached is looked at below
		case err != nil:
			return 0, err
		case known && len(next) == 0:
			return 0, nil
		case known:
			after = next[0] - 1
		}
	}
	const first = `
		SELECT greatest(clock_timestamp() - recorded_at, interval '0') FROM atlas.events
		WHERE position > $1
			AND (cardinality($2::text[]) = 0 OR split_part(stream, '-', 1) = ANY ($2))
			AND (cardinality($3::text[]) = 0 OR type = ANY ($3))
		ORDER BY position LIMIT 1`
	err = l.pool.QueryRow(ctx, first, after, s.Filter.Categories, s.Filter.Types).Scan(&lag)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return lag, err
}
