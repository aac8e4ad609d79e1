package workers

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/workers/outbox"
)

// On returns a handler that takes the messages of P's contract and lets the topic's others pass.
func On[P outbox.Payload](handle func(m *message.Message, payload P) error) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		var payload P
		if m.Metadata.Get(outbox.MetaContract) != payload.Contract() {
			return nil
		}
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			return fmt.Errorf("read %s: %w", payload.Contract(), err)
		}
		return handle(m, payload)
	}
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
	event := idIn(m, outbox.MetaEvent)
	correlation := idIn(m, outbox.MetaCorrelation)
	if correlation == uuid.Nil {
		correlation = event
	}
	return eventstore.Metadata{
		CorrelationID: correlation, CausationID: event, Traceparent: m.Metadata.Get(outbox.MetaTraceparent),
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
