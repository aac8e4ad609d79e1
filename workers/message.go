package workers

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/projections/engine"
)

// On returns a handler that takes the events of type E and lets others pass.
func On[E events.Event](handle func(m *message.Message, e engine.Recorded[E]) error) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		recorded := subscription.Event(m.Context())
		event, err := recorded.Event()
		if err != nil {
			return fmt.Errorf("event %d: %w", recorded.Position, err)
		}
		if e, ok := event.(E); ok {
			return handle(m, engine.Recorded[E]{Recorded: recorded, Event: e})
		}
		return nil
	}
}

// Once says whether an effect in this database is still to be had, and takes note of it in the transaction that has it. The
// context is the message's, the group the worker's name (subscription.Group), the event its idempotency key (MetaEvent, or
// the message's UUID). Of a replay it is false: an operator has effects again by a reset with effects.
func Once(ctx context.Context, tx pgx.Tx, group string, event uuid.UUID) (first bool, err error) {
	return subscription.Once(ctx, tx, group, event)
}

// Command returns the message's context for one command of its handler's: the command is carried out once, however often
// the message comes. The name tells the commands of a handler apart, and must stay the same. Command ids are kept for
// thirty days.
func Command(m *message.Message, name string) context.Context {
	worker := message.HandlerNameFromCtx(m.Context())
	what := worker + "\x00" + name
	return eventstore.WithCommand(m.Context(), uuid.NewSHA1(commandSpace, []byte(m.UUID+"\x00"+what)), []byte(what))
}

// commandSpace keeps the ids of workers' commands apart from all others.
var commandSpace = uuid.MustParse("7d3c1c5e-52f0-5d0b-9a43-6a0f6d1e8b21")

// trace puts into the message's context where it comes from.
func trace(handle message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		m.SetContext(eventstore.WithMetadata(m.Context(), consequence(m)))
		return handle(m)
	}
}

// consequence is the metadata of what the message leads to. An event that names no correlation begins one.
func consequence(m *message.Message) eventstore.Metadata {
	event := idIn(m, subscription.MetaEvent)
	correlation := idIn(m, subscription.MetaCorrelation)
	if correlation == uuid.Nil {
		correlation = event
	}
	return eventstore.Metadata{
		CorrelationID: correlation, CausationID: event, Traceparent: m.Metadata.Get(subscription.MetaTraceparent),
	}
}

// idIn returns an id from the message's metadata; the nil UUID where it has none.
func idIn(m *message.Message, key string) uuid.UUID {
	id, err := uuid.Parse(m.Metadata.Get(key))
	if err != nil {
		return uuid.Nil
	}
	return id
}
