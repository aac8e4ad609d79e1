package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Once says whether an effect of a group on an event's account is still to be had, and takes note of it in the transaction
// that has it: in another one it is false from then on. Of two at once one waits for the other. With the context of a
// message that is a replay it is false, noted or not: only a reset with effects has them again.
func Once(ctx context.Context, tx pgx.Tx, group string, event uuid.UUID) (first bool, err error) {
	if IsReplay(ctx) {
		return false, nil
	}
	const q = `INSERT INTO atlas.subscription_effects (subscription, event) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	tag, err := tx.Exec(ctx, q, group, event)
	if err != nil {
		return false, fmt.Errorf("effect of %s on %s: %w", event, group, err)
	}
	return tag.RowsAffected() == 1, nil
}

const (
	effectsKept   = 72 * time.Hour // for handlers of processes that were stopped and go on
	effectsBatch  = 5000           // rows that one transaction looks at
	effectsPruned = time.Hour      // between two rounds
)

// PruneEffects forgets the effects of events that will not come again, now and every hour, until ctx ends. Any number of
// processes may run it; they take turns. What fails is logged and done the next time.
func (l *Log) PruneEffects(ctx context.Context) error {
	tick := time.NewTicker(effectsPruned)
	defer tick.Stop()
	for {
		if _, err := l.pruneEffects(ctx, effectsKept, effectsBatch); err != nil && ctx.Err() == nil {
			l.log.Warn("effects of subscriptions not pruned", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pruneEffects goes over the effects of every group once, and returns how many it forgot.
func (l *Log) pruneEffects(ctx context.Context, kept time.Duration, batch int) (n int64, err error) {
	const groups = `
		SELECT s.name FROM atlas.subscriptions s
		WHERE EXISTS (SELECT FROM atlas.subscription_effects e WHERE e.subscription = s.name)`
	const page = `SELECT pruned, reached FROM atlas.prune_subscription($1, $2, $3, $4)`
	rows, err := l.pool.Query(ctx, groups)
	if err != nil {
		return 0, fmt.Errorf("prune effects: %w", unavailable(err))
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("prune effects: %w", unavailable(err))
	}
	for _, name := range names {
		for since := new(time.Time); since != nil; {
			var pruned int64
			if err := l.pool.QueryRow(ctx, page, name, *since, kept, batch).Scan(&pruned, &since); err != nil {
				return n, fmt.Errorf("prune effects of %s: %w", name, unavailable(err))
			}
			n += pruned
		}
	}
	return n, nil
}
