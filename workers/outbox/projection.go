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

// projectionName is the name of the projection's checkpoint.
const projectionName = "outbox"

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
	return engine.HandleBatch(projectionName, version, examples, p.publish)
}

// projector publishes the messages of events, by the event's type.
type projector struct {
	contracts map[reflect.Type][]Contract
}

// publish writes the messages of a batch, with one statement per topic, but for those that are left to a backfill.
func (p projector) publish(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
	left, err := takeTurn(ctx, tx)
	if err != nil {
		return err
	}
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
			if left.has(c.topic, m, r.Position) {
				continue
			}
			if messages[c.topic] == nil {
				topics = append(topics, c.topic)
			}
			messages[c.topic] = append(messages[c.topic], m)
		}
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
