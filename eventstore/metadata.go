package eventstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"

	"github.com/google/uuid"
)

// Metadata says where an event came from. It is taken from the context of the append and stored with each event.
type Metadata struct {
	Actor         uuid.UUID // the user whose command it was; nil where nobody was signed in
	CorrelationID uuid.UUID // what all events that one cause led to share
	CausationID   uuid.UUID // the event that made a worker act; nil for a user's command
	CommandID     uuid.UUID // the command that appended it
	Traceparent   string    // W3C trace context
	RequestID     string
	Client        Client // sealed under the actor's key, or under the event's subject where nobody was signed in
}

// Client is what is known of the caller's machine. It is personal data.
type Client struct {
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

type metadataKey struct{}

// WithMetadata returns a context whose appends carry the metadata. CommandID is set by the append.
func WithMetadata(ctx context.Context, m Metadata) context.Context {
	return context.WithValue(ctx, metadataKey{}, m)
}

// MetadataFrom returns the metadata that appends with the context carry.
func MetadataFrom(ctx context.Context) Metadata {
	m, _ := ctx.Value(metadataKey{}).(Metadata)
	return m
}

// clientEnvelope seals what is known of the caller's machine under the actor's key, or, where nobody is signed in,
// under that of the first subject written about. With neither there is no key, and nothing is kept.
func clientEnvelope(m Metadata, st *statement) *Envelope {
	if m.Client == (Client{}) {
		return nil
	}
	subject := m.Actor
	for i := 0; subject == uuid.Nil && i < len(st.subjects); i++ {
		if st.subjects[i] != nil {
			subject = *st.subjects[i]
		}
	}
	if subject == uuid.Nil {
		return nil
	}
	plain, err := json.Marshal(m.Client)
	if err != nil {
		panic(err) // two strings always encode
	}
	return &Envelope{Subject: subject, Bound: bound(m.CommandID, clientPart), Plain: plain}
}

// storedMetadata is the JSON in the events' metadata column.
type storedMetadata struct {
	Actor         uuid.UUID `json:"actor,omitzero"`
	CorrelationID uuid.UUID `json:"correlation_id,omitzero"`
	CausationID   uuid.UUID `json:"causation_id,omitzero"`
	CommandID     uuid.UUID `json:"command_id,omitzero"`
	Traceparent   string    `json:"traceparent,omitempty"`
	RequestID     string    `json:"request_id,omitempty"`
	ClientSubject uuid.UUID `json:"client_subject,omitzero"`
	Client        string    `json:"client,omitempty"` // base64 of the sealed Client
}

func encodeMetadata(m Metadata, client *Envelope) ([]byte, error) {
	stored := storedMetadata{
		Actor: m.Actor, CorrelationID: m.CorrelationID, CausationID: m.CausationID, CommandID: m.CommandID,
		Traceparent: m.Traceparent, RequestID: m.RequestID,
	}
	if client != nil {
		stored.ClientSubject = client.Subject
		stored.Client = base64.RawStdEncoding.EncodeToString(client.Sealed)
	}
	raw, err := json.Marshal(stored)
	if err != nil {
		return nil, err
	}
	return raw, validate(raw)
}

// decodeMetadata reads the stored form, and keeps nothing of it. Where the client is sealed in it, the envelope to open
// comes back as well.
func decodeMetadata(raw []byte) (m Metadata, client *Envelope, err error) {
	stored, plain := plainMetadata(raw)
	if !plain {
		if stored, err = anyMetadata(raw); err != nil {
			return Metadata{}, nil, err
		}
	}
	m = Metadata{
		Actor: stored.Actor, CorrelationID: stored.CorrelationID, CausationID: stored.CausationID, CommandID: stored.CommandID,
		Traceparent: stored.Traceparent, RequestID: stored.RequestID,
	}
	if stored.Client == "" {
		return m, nil, nil
	}
	sealed, err := base64.RawStdEncoding.DecodeString(stored.Client)
	if err != nil {
		return Metadata{}, nil, err
	}
	return m, &Envelope{Subject: stored.ClientSubject, Bound: bound(m.CommandID, clientPart), Sealed: sealed}, nil
}

// plainMetadata takes apart what PostgreSQL makes of metadata, {"name": "value", …}, and says whether it could: any other
// form of the same is left to encoding/json. Metadata is read with every event, and cost a quarter of reading a log.
func plainMetadata(raw []byte) (stored storedMetadata, plain bool) {
	rest, found := bytes.CutPrefix(raw, []byte(`{"`))
	for found {
		var name, value []byte
		if name, rest, found = bytes.Cut(rest, []byte(`"`)); !found {
			break
		}
		if rest, found = bytes.CutPrefix(rest, []byte(`: "`)); !found {
			break
		}
		if value, rest, found = bytes.Cut(rest, []byte(`"`)); !found || bytes.IndexByte(value, '\\') >= 0 || !stored.set(name, value) {
			break
		}
		if string(rest) == `}` {
			return stored, true
		}
		rest, found = bytes.CutPrefix(rest, []byte(`, "`))
	}
	return storedMetadata{}, false
}

// anyMetadata reads metadata in any form.
func anyMetadata(raw []byte) (stored storedMetadata, err error) {
	err = json.Unmarshal(raw, &stored)
	return stored, err
}

// set sets a field by its name in JSON, and says whether it could. It does not know every name.
func (m *storedMetadata) set(name, value []byte) bool {
	var id *uuid.UUID
	switch string(name) {
	case "actor":
		id = &m.Actor
	case "correlation_id":
		id = &m.CorrelationID
	case "causation_id":
		id = &m.CausationID
	case "command_id":
		id = &m.CommandID
	case "client_subject":
		id = &m.ClientSubject
	case "traceparent":
		m.Traceparent = string(value)
		return true
	case "request_id":
		m.RequestID = string(value)
		return true
	case "client":
		m.Client = string(value)
		return true
	default:
		return false
	}
	parsed, err := uuid.ParseBytes(value)
	*id = parsed
	return err == nil
}
