package watermillsql

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Reader is how far a group has read a topic.
type Reader struct {
	Topic    string
	Group    string
	Position int64 // every event of the topic up to here is acked
	MovedAt  time.Time
}

// Readers lists the groups that plain subscribers have made, by topic and name. Where a topic has nothing new, its groups stay
// up to a thousand positions behind the end of the log, though they have read all there is for them.
func Readers(ctx context.Context, pool *pgxpool.Pool) ([]Reader, error) {
	const q = `SELECT topic, consumer_group, position, moved_at FROM atlas.log_readers ORDER BY topic, consumer_group`
	rows, err := pool.Query(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("readers of the log: %w", err)
	}
	readers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Reader])
	if err != nil {
		return nil, fmt.Errorf("readers of the log: %w", err)
	}
	return readers, nil
}
