package subscription

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// publishedType is the stored name of what a Publisher appends.
const publishedType = "message.published"

// publishSpace keeps the ids of streams and commands of publishers apart from all others.
var publishSpace = uuid.MustParse("b0f7c1f4-8a0e-5c53-9d5a-2f6f0f0b7a11")

// Publisher is a Watermill publisher into the log. A topic is a category of streams (TopicCategory): messages with the
// same metadata "stream" keep their order, and those without it share one stream, so the whole topic has an order.
//
// The messages of one call are appended together or not at all, and once: publishing the same ids with the same payloads
// again, after an error whose outcome is unknown, changes nothing. Payloads that are JSON are stored as JSON, so what
// comes back may be spelled otherwise (spaces, the order of keys); all others come back byte by byte. Correlation,
// causation and trace context are taken from the metadata, and from the first message's context.
type Publisher struct {
	store  *eventstore.Store
	closed atomic.Bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a publisher into the log, whose vocabulary must have events.MessagePublished.
func NewPublisher(store *eventstore.Store) *Publisher { return &Publisher{store: store} }

// Publish appends messages. It does not wait for anybody to handle them.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return errors.New("the publisher is closed")
	}
	if len(messages) == 0 {
		return nil
	}
	category := TopicCategory(topic)
	ids, content := sha256.New(), sha256.New()
	fmt.Fprintf(ids, "%q", topic)
	var writes []eventstore.Write
	at := map[eventstore.Stream]int{}
	named := true
	for _, msg := range messages {
		stream := streamOf(category, msg.Metadata.Get(MetaStream))
		i, known := at[stream]
		if !known {
			i = len(writes)
			at[stream] = i
			writes = append(writes, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion})
		}
		writes[i].Events = append(writes[i].Events, published(msg))
		named = named && msg.UUID != ""
		fmt.Fprintf(ids, "%q", msg.UUID)
		fmt.Fprintf(content, "%d:%s", len(msg.Payload), msg.Payload)
	}
	ctx := context.WithoutCancel(messages[0].Context())
	ctx = eventstore.WithMetadata(ctx, origin(ctx, messages[0]))
	if named {
		ctx = eventstore.WithCommand(ctx, uuid.NewSHA1(publishSpace, ids.Sum(nil)), content.Sum(nil))
	}
	if _, err := p.store.Append(ctx, writes...); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

// Close makes further calls of Publish fail.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

// streamOf returns the stream that a key names in a category: itself if it is one, else one made of it.
func streamOf(category, key string) eventstore.Stream {
	if stream, err := eventstore.ParseStream(key); err == nil && stream.Category == category {
		return stream
	}
	return eventstore.NewStream(category, uuid.NewSHA1(publishSpace, []byte(category+"\x00"+key)))
}

// published returns the event that a message becomes.
func published(msg *message.Message) events.MessagePublished {
	e := events.MessagePublished{UUID: msg.UUID, Metadata: maps.Clone(msg.Metadata)}
	if eventstore.CheckStored(json.RawMessage(msg.Payload), json.RawMessage(`{}`), 0) == nil {
		e.Payload = json.RawMessage(msg.Payload)
	} else {
		e.Bytes = msg.Payload
	}
	return e
}

// origin is the metadata of the append: the context's, and what the message says beyond it.
func origin(ctx context.Context, msg *message.Message) eventstore.Metadata {
	meta := eventstore.MetadataFrom(ctx)
	for key, id := range map[string]*uuid.UUID{MetaCorrelation: &meta.CorrelationID, MetaCausation: &meta.CausationID} {
		if said, err := uuid.Parse(msg.Metadata.Get(key)); err == nil {
			*id = said
		}
	}
	if said := msg.Metadata.Get(MetaTraceparent); said != "" {
		meta.Traceparent = said
	}
	return meta
}
