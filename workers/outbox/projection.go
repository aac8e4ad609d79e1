package outbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"reflect"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Version is the projection's. Raise it when a contract was added that past events shall have messages of, too.
const Version = 1

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the topic tables. They do not depend on other sets.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "outbox", FS: sub, Grants: grants}
}

// Projection writes the messages of all contracts. It runs with the read tables, and cannot be rebuilt.
func Projection() engine.Projection { return projection(Version, Catalog()) }

func projection(version int, contracts []Contract) engine.Projection {
	p := projector{contracts: map[reflect.Type][]Contract{}}
	var examples []events.Event
	for _, c := range contracts {
		t := reflect.TypeOf(c.event)
		if p.contracts[t] == nil {
			examples = append(examples, c.event)
		}
		p.contracts[t] = append(p.contracts[t], c)
	}
	return engine.HandleBatch("outbox", version, examples, p.publish)
}

// projector publishes the messages of events, by the event's type.
type projector struct {
	contracts map[reflect.Type][]Contract
}

// publish writes the messages of a batch, with one statement per topic.
func (p projector) publish(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	var topics []string
	messages := map[string][]*message.Message{}
	for _, r := range batch {
		e, err := r.Event()
		if err != nil {
			return fmt.Errorf("event %d: %w", r.Position, err)
		}
		for _, c := range p.contracts[reflect.TypeOf(e)] {
			m, err := c.message(r, e)
			if err != nil {
				return err
			}
			if messages[c.topic] == nil {
				topics = append(topics, c.topic)
			}
			messages[c.topic] = append(messages[c.topic], m)
		}
	}
	if err := takeTurn(ctx, tx); err != nil {
		return err
	}
	publisher, err := newPublisher(ctx, tx)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if err := publisher.Publish(topic, messages[topic]...); err != nil {
			return fmt.Errorf("publish to %s: %w", topic, err)
		}
	}
	return nil
}

// takeTurn lets one projector at a time draw offsets, until its transaction ends, so that they are seen in their order.
// The checkpoint sees to that for one version of the projection; two run side by side while a new one is rolled out.
func takeTurn(ctx context.Context, tx pgx.Tx) error {
	const q = `SELECT pg_advisory_xact_lock(hashtextextended('atlas.outbox', 0))`
	if _, err := tx.Exec(ctx, q); err != nil {
		return fmt.Errorf("take the outbox's turn: %w", err)
	}
	return nil
}
