package subscription

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// The keys of a message's metadata. An id that the event does not have is left out. Of a message that came through a
// Publisher they are beside its own metadata, which has them already where it sets them.
const (
	MetaEvent         = "event_id"       // the event that the message is
	MetaStream        = "stream"         // where it lies, "user-0197f2f0-…"; for a Publisher, what is to be kept in order
	MetaStreamVersion = "stream_version" // and its version there
	MetaPosition      = "position"       // and its position in the log
	MetaType          = "type"           // "user.registered"
	MetaSchema        = "schema_version" // the shape of the payload
	MetaOccurredAt    = "occurred_at"    // RFC 3339, UTC
	MetaCorrelation   = "correlation_id" // what all that one cause led to shares
	MetaCausation     = "causation_id"   // the event that led to this one
	MetaTraceparent   = "traceparent"    // W3C trace context
)

// newMessage returns the message that an event is. Its payload is the event's clear part as it is stored; what is
// personal is opened by Event alone. What came through a Publisher is the message that went in.
func newMessage(e *eventstore.Recorded) (*message.Message, error) {
	meta := describe(e)
	msg := message.NewMessage(meta[MetaEvent], message.Payload(e.Data()))
	msg.Metadata = meta
	if e.Type != publishedType {
		return msg, nil
	}
	var published events.MessagePublished
	if err := json.Unmarshal(e.Data(), &published); err != nil {
		return nil, fmt.Errorf("read message at %d: %w", e.Position, err)
	}
	msg.UUID = cmp.Or(published.UUID, msg.UUID)
	msg.Payload = message.Payload(published.Payload)
	if published.Payload == nil {
		msg.Payload = published.Bytes
	}
	maps.Copy(meta, published.Metadata)
	return msg, nil
}

// described is how many keys describe sets at most.
const described = 10

// describe says where the event comes from. This is done for every message: the values are cut from one text, and the map
// is made as large as it gets.
func describe(e *eventstore.Recorded) message.Metadata {
	var room [512]byte
	var keys [described]string
	var ends [described]int
	n, text := 0, room[:0]
	end := func(key string) {
		if n == 0 || ends[n-1] < len(text) { // what the event does not have is left out
			keys[n], ends[n] = key, len(text)
			n++
		}
	}
	text = appendID(text, e.ID)
	end(MetaEvent)
	text = appendID(append(append(text, e.Stream.Category...), '-'), e.Stream.ID)
	end(MetaStream)
	text = strconv.AppendInt(text, e.Version, 10)
	end(MetaStreamVersion)
	text = strconv.AppendInt(text, e.Position, 10)
	end(MetaPosition)
	text = append(text, e.Type...)
	end(MetaType)
	text = strconv.AppendInt(text, int64(e.Schema), 10)
	end(MetaSchema)
	text = e.At.AppendFormat(text, time.RFC3339Nano)
	end(MetaOccurredAt)
	text = appendKnown(text, e.Metadata.CorrelationID)
	end(MetaCorrelation)
	text = appendKnown(text, e.Metadata.CausationID)
	end(MetaCausation)
	text = append(text, e.Metadata.Traceparent...)
	end(MetaTraceparent)

	meta, all, from := make(message.Metadata, n), string(text), 0
	for i, key := range keys[:n] {
		meta[key] = all[from:ends[i]]
		from = ends[i]
	}
	return meta
}

func appendKnown(text []byte, id uuid.UUID) []byte {
	if id == uuid.Nil {
		return text
	}
	return appendID(text, id)
}

// appendID appends the id's stored form.
func appendID(text []byte, id uuid.UUID) []byte {
	text = append(hex.AppendEncode(text, id[0:4]), '-')
	text = append(hex.AppendEncode(text, id[4:6]), '-')
	text = append(hex.AppendEncode(text, id[6:8]), '-')
	text = append(hex.AppendEncode(text, id[8:10]), '-')
	return hex.AppendEncode(text, id[10:16])
}
