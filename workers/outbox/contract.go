package outbox

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// The keys of a message's metadata. An id the event does not have is left out.
const (
	MetaContract      = "contract"       // "user.registered.v1"
	MetaEvent         = "event_id"       // the event the message was made of
	MetaStream        = "stream"         // where that event lies, "user-0197f2f0-…"
	MetaStreamVersion = "stream_version" // and its version there
	MetaPosition      = "position"       // and its position in the log
	MetaOccurredAt    = "occurred_at"    // RFC 3339, UTC
	MetaCorrelation   = "correlation_id" // what all that one cause led to shares
	MetaCausation     = "causation_id"   // the event that led to this one
	MetaTraceparent   = "traceparent"    // W3C trace context
)

// Payload is the body of a message. Its type is the contract.
type Payload interface {
	// Contract is the name and the version of the contract; it never changes.
	Contract() string
}

// Contract says which message an event becomes. Make one with Define.
type Contract struct {
	name    string
	topic   string
	event   events.Event // a zero value of the type it is made of
	body    reflect.Type // of its payload
	payload func(*eventstore.Recorded, events.Event) Payload
}

// Define declares that events of type E become messages with the payload P on a topic. The function gets the event with
// its personal fields emptied.
func Define[E any, P Payload](topic string, payload func(engine.Recorded[E]) P) Contract {
	var event E
	var none P
	return Contract{name: none.Contract(), topic: topic, event: event, body: reflect.TypeFor[P](), payload: func(r *eventstore.Recorded, e events.Event) Payload {
		return payload(engine.Recorded[E]{Recorded: r, Event: withoutPersonal(e.(E))})
	}}
}

// withoutPersonal empties the fields that the event's tags call sealed or secret.
func withoutPersonal[E any](e E) E {
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("pii"); tag == "seal" || tag == "secret" {
			v.Field(i).SetZero()
		}
	}
	return e
}

// message returns the message that the event becomes, the same one each time.
func (c Contract) message(r *eventstore.Recorded, e events.Event) (*message.Message, error) {
	payload, err := json.Marshal(c.payload(r, e))
	if err != nil {
		return nil, fmt.Errorf("%s of event %d: %w", c.name, r.Position, err)
	}
	m := message.NewMessage(c.id(r.ID, 0).String(), payload)
	m.Metadata = message.Metadata{
		MetaContract:      c.name,
		MetaEvent:         r.ID.String(),
		MetaStream:        r.Stream.String(),
		MetaStreamVersion: strconv.FormatInt(r.Version, 10),
		MetaPosition:      strconv.FormatInt(r.Position, 10),
		MetaOccurredAt:    r.At.Format(time.RFC3339Nano),
	}
	for key, id := range map[string]uuid.UUID{MetaCorrelation: r.Metadata.CorrelationID, MetaCausation: r.Metadata.CausationID} {
		if id != uuid.Nil {
			m.Metadata[key] = id.String()
		}
	}
	if r.Metadata.Traceparent != "" {
		m.Metadata[MetaTraceparent] = r.Metadata.Traceparent
	}
	return m, nil
}

// id returns the id of the event's nth message under the contract. So far an event has one.
func (c Contract) id(event uuid.UUID, n int) uuid.UUID {
	return uuid.NewSHA1(event, fmt.Appendf(nil, "%s/%d", c.name, n))
}
