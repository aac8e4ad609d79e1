package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrNoGroup says that a topic has no such consumer group.
var ErrNoGroup = fault.New(fault.NotFound, "group_not_found", "the topic has no consumer group of that name")

// TopicStatus is how a topic is doing. Numbers of messages are told by offsets, so they may be a little too high: what was
// rolled back leaves offsets that no message has.
type TopicStatus struct {
	Topic    string        `json:"topic"`
	Messages int64         `json:"messages"`
	Oldest   time.Duration `json:"-"` // age of the oldest message
	First    int64         `json:"first_offset"`
	Last     int64         `json:"last_offset"`
	Pruned   int64         `json:"pruned_upto"` // offset
	Groups   []GroupStatus `json:"groups"`
	Backfill *Backfill     `json:"backfill"` // the last one; nil if there was none
}

// GroupStatus is how a consumer group of a topic is doing.
type GroupStatus struct {
	Group     string        `json:"group"`
	Offset    int64         `json:"offset"` // of the last message it has read
	Lag       int64         `json:"lag"`    // messages that it has not read
	LagTime   time.Duration `json:"-"`      // age of the first of them
	Idle      time.Duration `json:"-"`      // for how long it was seen with messages to read and did not move
	Abandoned *time.Time    `json:"abandoned_at"`
	Missed    int64         `json:"missed"` // messages that it had not read when they were pruned
}

// MarshalJSON tells times in seconds.
func (s TopicStatus) MarshalJSON() ([]byte, error) {
	type fields TopicStatus
	return json.Marshal(struct {
		fields
		OldestSeconds float64 `json:"oldest_seconds"`
	}{fields(s), s.Oldest.Seconds()})
}

// MarshalJSON tells times in seconds.
func (g GroupStatus) MarshalJSON() ([]byte, error) {
	type fields GroupStatus
	return json.Marshal(struct {
		fields
		LagSeconds  float64 `json:"lag_seconds"`
		IdleSeconds float64 `json:"idle_seconds"`
	}{fields(g), g.LagTime.Seconds(), g.Idle.Seconds()})
}

// Status returns how topics are doing, in their order.
func Status(ctx context.Context, pool *pgxpool.Pool, topics []string) (all []TopicStatus, err error) {
	for _, topic := range topics {
		s, err := status(ctx, pool, topic)
		if err == nil {
			s.Backfill, err = LastBackfill(ctx, pool, topic)
		}
		if err != nil {
			return nil, fmt.Errorf("status of topic %s: %w", topic, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func status(ctx context.Context, pool *pgxpool.Pool, topic string) (s TopicStatus, err error) {
	q := `
		SELECT coalesce(first.place, 0), coalesce(last.place, 0), coalesce(last.place - first.place + 1, 0),
			coalesce(greatest(clock_timestamp() - first.created_at, '0'), '0'),
			coalesce((SELECT p.upto FROM outbox.pruned_topics p WHERE p.topic = $1), 0)
		FROM (VALUES (1)) AS one
		LEFT JOIN (SELECT "offset" AS place, created_at FROM ` + messagesTable(topic) + ` ORDER BY "offset" LIMIT 1) first ON true
		LEFT JOIN (SELECT "offset" AS place FROM ` + messagesTable(topic) + ` ORDER BY "offset" DESC LIMIT 1) last ON true`
	s.Topic = topic
	if err := pool.QueryRow(ctx, q, topic).Scan(&s.First, &s.Last, &s.Messages, &s.Oldest, &s.Pruned); err != nil {
		return s, err
	}
	q = `
		SELECT o.consumer_group, coalesce(o.offset_acked, 0), ` + behindOf(topic) + `,
			coalesce((
				SELECT greatest(clock_timestamp() - m.created_at, '0') FROM ` + messagesTable(topic) + ` m
				WHERE m."offset" > coalesce(o.offset_acked, 0) ORDER BY m."offset" LIMIT 1
			), '0'),
			coalesce(g.idle, '0'), g.abandoned_at, coalesce(g.missed, 0)
		FROM ` + offsetsTable(topic) + ` o
		LEFT JOIN outbox.observed_groups g ON g.topic = $1 AND g.consumer_group = o.consumer_group
		ORDER BY o.consumer_group`
	rows, err := pool.Query(ctx, q, topic)
	if err != nil {
		return s, err
	}
	s.Groups, err = pgx.CollectRows(rows, pgx.RowToStructByPos[GroupStatus])
	return s, err
}

// DropGroup removes a consumer group from a topic: it holds up no pruning any more, and begins with the oldest message
// there is if it comes back. It waits for a message that the group has in hand, for a moment.
func DropGroup(ctx context.Context, pool *pgxpool.Pool, topic, group string) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '5s'`); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM `+offsetsTable(topic)+` WHERE consumer_group = $1`, group)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrNoGroup
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM outbox.observed_groups WHERE topic = $1 AND consumer_group = $2`, topic, group)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("drop group %s of topic %s: %w", group, topic, err)
	}
	return nil
}
