package chain

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Lag returns for how long the oldest event that is not sealed has been in the log; 0 where every event is. A sealer that
// works keeps it near its interval.
func Lag(ctx context.Context, pool *pgxpool.Pool) (time.Duration, error) {
	const q = `
		SELECT coalesce(extract(epoch FROM clock_timestamp() - (
			SELECT e.recorded_at FROM atlas.events e
			WHERE e.position > greatest(
				(SELECT b.last_position FROM atlas.chain_blocks b ORDER BY b.number DESC LIMIT 1),
				(SELECT c.after_position FROM atlas.chains c ORDER BY c.number DESC LIMIT 1), -1)
			ORDER BY e.position LIMIT 1)), 0)::float8`
	var seconds float64
	if err := pool.QueryRow(ctx, q).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("read the sealer's lag: %w", err)
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), nil
}
