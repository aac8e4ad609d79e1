package watermillsql

import (
	"cmp"
	stdsql "database/sql"
	"embed"
	"errors"
	"io/fs"
	"strings"

	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the places of groups, and the function that reads. The log's come before them.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "watermillsql", FS: sub, Grants: grants}
}

// defaultBatch is how many messages a subscriber takes at once: all of them come again if it is killed at the last.
const defaultBatch = 100

// errReadOnly says that a topic here is not published to.
var errReadOnly = errors.New("the log is appended to by commands, or by subscription.NewPublisher")

// Schema is the log as watermill-sql reads it. The zero value reads topics as package subscription does: a topic is a
// category of streams.
type Schema struct {
	sql.DefaultPostgreSQLSchema // reads what a row holds

	// Filter says which events a topic is, of a vocabulary of the caller's choice; a topic must keep its filter.
	Filter func(topic string) eventstore.Filter
	// BatchSize is how many messages a query returns at most, and how many come again at worst; 100.
	BatchSize int
}

// InsertQuery refuses to publish.
func (Schema) InsertQuery(string, message.Messages) (sql.Query, error) {
	return sql.Query{}, errReadOnly
}

// SelectQuery asks for the next messages of the group.
func (s Schema) SelectQuery(topic, group string, _ sql.OffsetsAdapter) sql.Query {
	chosen := eventstore.Filter{Categories: []string{subscription.TopicCategory(topic)}}
	if s.Filter != nil {
		chosen = s.Filter(topic)
	}
	return sql.Query{
		Query: `SELECT place, transaction, uuid, payload, metadata FROM atlas.read_topic($1, $2, $3, $4, $5)`,
		Args: []any{
			topic, group, strings.Join(chosen.Categories, ","), strings.Join(chosen.Types, ","), cmp.Or(s.BatchSize, defaultBatch),
		},
	}
}

// SchemaInitializingQueries has nothing to do: the tables come with Migrations.
func (Schema) SchemaInitializingQueries(string) []sql.Query { return nil }

// SubscribeIsolationLevel is what the order of statements in atlas.read_topic needs.
func (Schema) SubscribeIsolationLevel() stdsql.IsolationLevel { return stdsql.LevelReadCommitted }

// Offsets keeps the places of groups. A new group begins with the first event there is.
type Offsets struct{}

// AckMessageQuery moves a group to a message.
func (Offsets) AckMessageQuery(topic string, row sql.Row, group string) sql.Query {
	const q = `
		UPDATE atlas.log_readers SET position = $3, moved_at = clock_timestamp()
		WHERE topic = $1 AND consumer_group = $2`
	return sql.Query{Query: q, Args: []any{topic, group, row.Offset}}
}

// ConsumedMessageQuery has nothing to do: the group's lock is held already.
func (Offsets) ConsumedMessageQuery(string, sql.Row, string, []byte) sql.Query { return sql.Query{} }

// NextOffsetQuery returns the place of a group. Schema does not ask, since the place is read under the group's lock.
func (Offsets) NextOffsetQuery(topic, group string) sql.Query {
	const q = `SELECT position FROM atlas.log_readers WHERE topic = $1 AND consumer_group = $2`
	return sql.Query{Query: q, Args: []any{topic, group}}
}

// SchemaInitializingQueries has nothing to do: the tables come with Migrations.
func (Offsets) SchemaInitializingQueries(string) []sql.Query { return nil }

// BeforeSubscribingQueries makes the group's place unless it has one.
func (Offsets) BeforeSubscribingQueries(topic, group string) []sql.Query {
	const q = `INSERT INTO atlas.log_readers (topic, consumer_group) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	return []sql.Query{{Query: q, Args: []any{topic, group}}}
}
