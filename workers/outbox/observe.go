package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// watched is how many intervals count at most between two looks at a group: time in which no keeper ran says nothing of it.
const watched = 5

// attended is for how long a group lives by a process's word that it works for it.
const attended = 5 * time.Minute

// observed is a consumer group at a look at it.
type observed struct {
	name      string
	place     int64 // what it has read up to
	inHand    bool  // a subscriber has its row locked, so it has a message in hand; or one said that it works for the group
	behind    int64 // messages beyond, at most
	now       time.Time
	known     bool // it was looked at before; then:
	was       int64
	at        time.Time
	idle      time.Duration
	abandoned *time.Time
	missed    int64
}

// observe looks at the groups of a topic. One that moves, has a message in hand or nothing to read, lives.
func (k *Keeper) observe(ctx context.Context, topic string) error {
	err := k.inTurn(ctx, func(tx pgx.Tx) error {
		groups, err := look(ctx, tx, topic)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := k.record(ctx, tx, topic, g); err != nil {
				return err
			}
		}
		const forget = `
			DELETE FROM outbox.observed_groups g WHERE g.topic = $1
				AND NOT EXISTS (SELECT FROM %s o WHERE o.consumer_group = g.consumer_group)`
		_, err = tx.Exec(ctx, fmt.Sprintf(forget, offsetsTable(topic)), topic)
		return err
	})
	if err != nil {
		return fmt.Errorf("observe groups of topic %s: %w", topic, err)
	}
	return nil
}

// look reads what there is to know of a topic's groups. The lock it takes on the rows of those that have nothing in hand
// ends with the transaction, and makes a subscriber poll again at most.
func look(ctx context.Context, tx pgx.Tx, topic string) ([]observed, error) {
	q := `
		WITH free AS MATERIALIZED (SELECT consumer_group FROM ` + offsetsTable(topic) + ` FOR KEY SHARE SKIP LOCKED)
		SELECT o.consumer_group, coalesce(o.offset_acked, 0),
			f.consumer_group IS NULL OR coalesce(g.attended_at > clock_timestamp() - $2::interval, false),
			` + behindOf(topic) + `, clock_timestamp(),
			g.topic IS NOT NULL, coalesce(g.offset_acked, 0), coalesce(g.observed_at, clock_timestamp()),
			coalesce(g.idle, '0'), g.abandoned_at, coalesce(g.missed, 0)
		FROM ` + offsetsTable(topic) + ` o
		LEFT JOIN free f USING (consumer_group)
		LEFT JOIN outbox.observed_groups g ON g.topic = $1 AND g.consumer_group = o.consumer_group`
	rows, err := tx.Query(ctx, q, topic, attended)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (g observed, err error) {
		return g, row.Scan(&g.name, &g.place, &g.inHand, &g.behind, &g.now, &g.known, &g.was, &g.at, &g.idle, &g.abandoned, &g.missed)
	})
}

// behindOf is how many messages of a topic a group with the offsets o has not read, at most: writes that were rolled back
// leave offsets that no message has.
func behindOf(topic string) string {
	return `greatest(coalesce((SELECT max(m."offset") FROM ` + messagesTable(topic) + ` m)
			- greatest(coalesce(o.offset_acked, 0), (SELECT min(m."offset") - 1 FROM ` + messagesTable(topic) + ` m)), 0), 0)`
}

// record writes down what was seen of a group, and tells when it is abandoned or comes back.
func (k *Keeper) record(ctx context.Context, tx pgx.Tx, topic string, g observed) error {
	const q = `
		INSERT INTO outbox.observed_groups (topic, consumer_group, offset_acked, observed_at, idle, abandoned_at, missed)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (topic, consumer_group) DO UPDATE
		SET offset_acked = excluded.offset_acked, observed_at = excluded.observed_at, idle = excluded.idle,
			abandoned_at = excluded.abandoned_at`
	was := g.abandoned
	g.judge(k.options)
	if _, err := tx.Exec(ctx, q, topic, g.name, g.place, g.now, g.idle, g.abandoned, g.missed); err != nil {
		return err
	}
	switch {
	case was == nil && g.abandoned != nil:
		k.log.Warn("consumer group abandoned: what it has not read may be pruned", "topic", topic, "group", g.name,
			"idle", g.idle.Round(time.Second).String(), "behind", g.behind)
	case was != nil && g.abandoned == nil:
		k.log.Warn("abandoned consumer group reads again", "topic", topic, "group", g.name, "missed", g.missed)
	}
	return nil
}

// judge says for how long a group has been idle, and whether it is abandoned.
func (g *observed) judge(o Options) {
	if !g.known || g.inHand || g.behind == 0 || g.place != g.was {
		g.idle, g.abandoned = 0, nil
		return
	}
	g.idle += min(max(g.now.Sub(g.at), 0), watched*o.Interval)
	if g.abandoned == nil && (g.idle >= o.AbandonAfter || g.behind > o.AbandonMessages && g.idle >= min(o.quiet, o.AbandonAfter)) {
		g.abandoned = &g.now
	}
}
