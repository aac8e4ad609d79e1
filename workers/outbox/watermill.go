package outbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
)

// AckDeadline is how long a subscriber waits for a message to be handled. Then it delivers it again, though the first
// handler may still be running.
const AckDeadline = 30 * time.Second

const (
	pollInterval   = 100 * time.Millisecond // an idle poll writes nothing
	resendInterval = time.Second            // after a nack
	retryInterval  = time.Second            // after an error of the database
)

// NewSubscriber returns a subscriber of topics for one consumer group. The subscribers of a group share the messages:
// one of them at a time has a message in hand, and the next comes when it is acked. A new group starts with the oldest
// message there is. It keeps one connection of db busy while a message is being handled.
func NewSubscriber(db *sql.DB, group string, log watermill.LoggerAdapter) (message.Subscriber, error) {
	deadline := AckDeadline
	return wsql.NewSubscriber(db, wsql.SubscriberConfig{
		ConsumerGroup:  group,
		AckDeadline:    &deadline,
		PollInterval:   pollInterval,
		ResendInterval: resendInterval,
		RetryInterval:  retryInterval,
		SchemaAdapter:  newSchema(),
		OffsetsAdapter: newOffsets(),
	}, log)
}

// newPublisher returns a publisher that writes in the transaction.
func newPublisher(ctx context.Context, tx pgx.Tx) (message.Publisher, error) {
	return wsql.NewPublisher(executor{ctx: ctx, tx: tx}, wsql.PublisherConfig{SchemaAdapter: newSchema()}, nil)
}

// executor is a pgx transaction as watermill-sql's publisher needs it: of the methods, it calls ExecContext alone.
type executor struct {
	wsql.ContextExecutor // nil
	ctx                  context.Context
	tx                   pgx.Tx
}

// ExecContext takes the transaction's context, since the publisher has none to give.
func (e executor) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := e.tx.Exec(e.ctx, query, args...)
	return driver.RowsAffected(tag.RowsAffected()), err
}

func messagesTable(topic string) string { return `"outbox"."` + topic + `"` }

func offsetsTable(topic string) string { return `"outbox"."` + topic + `_offsets"` }

// schema is watermill-sql's layout with statements that rely on offsets being in the order of commits.
type schema struct{ wsql.DefaultPostgreSQLSchema }

func newSchema() schema {
	return schema{wsql.DefaultPostgreSQLSchema{GenerateMessagesTableName: messagesTable}}
}

// InsertQuery is one statement for any number of messages, so that it is prepared once. What is there is left out before it
// draws an offset, so that offsets tell how many messages lie between them.
func (s schema) InsertQuery(topic string, messages message.Messages) (wsql.Query, error) {
	ids, payloads, metadata := make([]string, len(messages)), make([]string, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		raw, err := json.Marshal(m.Metadata)
		if err != nil {
			return wsql.Query{}, fmt.Errorf("metadata of message %s: %w", m.UUID, err)
		}
		ids[i], payloads[i], metadata[i] = m.UUID, string(m.Payload), string(raw)
	}
	q := `
		INSERT INTO ` + s.MessagesTable(topic) + ` (uuid, payload, metadata, transaction_id)
		SELECT m.uuid, m.payload::json, m.metadata::json, pg_current_xact_id()
		FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS m (uuid, payload, metadata, ordinal)
		WHERE NOT EXISTS (SELECT FROM ` + s.MessagesTable(topic) + ` there WHERE there.uuid = m.uuid)
		ORDER BY m.ordinal
		ON CONFLICT (uuid) DO NOTHING`
	return wsql.Query{Query: q, Args: []any{ids, payloads, metadata}}, nil
}

// SelectQuery reads one message, so that a crash delivers no other one again.
func (s schema) SelectQuery(topic, group string, offsets wsql.OffsetsAdapter) wsql.Query {
	next := offsets.NextOffsetQuery(topic, group)
	q := `
		WITH last AS MATERIALIZED (` + next.Query + `)
		SELECT "offset", transaction_id, uuid, payload, metadata
		FROM ` + s.MessagesTable(topic) + `
		WHERE "offset" > (SELECT offset_acked FROM last)
		ORDER BY "offset"
		LIMIT 1`
	return wsql.Query{Query: q, Args: next.Args}
}

// SubscribeIsolationLevel lets a subscriber that finds the group's row free see where the one before left it.
func (schema) SubscribeIsolationLevel() sql.IsolationLevel { return sql.LevelReadCommitted }

// offsets is watermill-sql's with a lock that is taken only when there is something to deliver, and never waited for.
type offsets struct {
	wsql.DefaultPostgreSQLOffsetsAdapter
}

func newOffsets() offsets {
	return offsets{wsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: offsetsTable}}
}

// BeforeSubscribingQueries also refuses a group that would skip what was pruned while it was away.
func (o offsets) BeforeSubscribingQueries(topic, group string) []wsql.Query {
	refuse := wsql.Query{Query: `SELECT outbox.require_group($1, $2)`, Args: []any{topic, group}}
	return append([]wsql.Query{refuse}, o.DefaultPostgreSQLOffsetsAdapter.BeforeSubscribingQueries(topic, group)...)
}

// NextOffsetQuery finds nothing while another subscriber of the group has a message in hand.
func (o offsets) NextOffsetQuery(topic, group string) wsql.Query {
	q := `
		SELECT o.offset_acked
		FROM ` + o.MessagesOffsetsTable(topic) + ` o
		WHERE o.consumer_group = $1
			AND EXISTS (SELECT 1 FROM ` + messagesTable(topic) + ` m WHERE m."offset" > o.offset_acked)
		FOR UPDATE OF o SKIP LOCKED`
	return wsql.Query{Query: q, Args: []any{group}}
}
