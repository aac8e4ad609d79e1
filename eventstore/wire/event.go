package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
)

// Event is an event as it is shown. Its JSON is a contract with programs outside.
type Event struct {
	Position   int64                      `json:"position" doc:"In the log: ascending, with gaps"`
	Stream     string                     `json:"stream" doc:"What it is about: the category, a hyphen, and an id"`
	Version    int64                      `json:"version" doc:"In its stream: 1, 2, …"`
	ID         uuid.UUID                  `json:"id" doc:"Of the event; the same however often it is delivered"`
	Type       string                     `json:"type" doc:"What happened: document.created"`
	Schema     int                        `json:"schema_version" doc:"The shape of data, counted for each type"`
	RecordedAt time.Time                  `json:"recorded_at"`
	Subject    *uuid.UUID                 `json:"subject" nullable:"true" doc:"Whose personal data it holds; null for nobody's"`
	Sealed     Sealed                     `json:"sealed" enum:"none,shown,withheld,erased,damaged" doc:"What became of the personal fields of data: there are none; they are there; they are left out, since the key lacks the scope unseal; they are gone, since their subject was forgotten; they cannot be opened"`
	Data       map[string]json.RawMessage `json:"data" doc:"What its type says"`
	Metadata   Metadata                   `json:"metadata"`
}

// Metadata says where an event came from.
type Metadata struct {
	ActorID       *uuid.UUID `json:"actor_id" nullable:"true" doc:"Who did it; null where nobody was signed in"`
	CorrelationID *uuid.UUID `json:"correlation_id" nullable:"true" doc:"What all events share that one cause led to"`
	CausationID   *uuid.UUID `json:"causation_id" nullable:"true" doc:"The event that made a worker act; null for a request"`
	RequestID     string     `json:"request_id,omitempty"`
	Traceparent   string     `json:"traceparent,omitempty"`
	Client        *Client    `json:"client,omitempty" doc:"The machine it came from; only with the scope unseal"`
}

// Client is the machine that an event came from. It is personal.
type Client struct {
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// Sealed says what became of the personal fields of an event.
type Sealed string

// What can become of them.
const (
	None     Sealed = "none"     // there are none
	Shown    Sealed = "shown"    // they are there
	Withheld Sealed = "withheld" // they are left out
	Erased   Sealed = "erased"   // their subject is forgotten
	Damaged  Sealed = "damaged"  // they cannot be opened
)

// Show returns an event as it is shown: with what is personal where unseal says so.
func Show(r *eventstore.Recorded, unseal bool) (Event, error) {
	e := Event{
		Position: r.Position, Stream: r.Stream.String(), Version: r.Version, ID: r.ID, Type: r.Type, RecordedAt: r.At,
		Subject: known(r.Subject),
		Metadata: Metadata{
			ActorID: known(r.Metadata.Actor), CorrelationID: known(r.Metadata.CorrelationID), CausationID: known(r.Metadata.CausationID),
			RequestID: r.Metadata.RequestID, Traceparent: r.Metadata.Traceparent,
		},
	}
	if c := Client(r.Metadata.Client); unseal && c != (Client{}) {
		e.Metadata.Client = &c
	}
	parts := r.Parts()
	e.Schema, e.Sealed = parts.Schema, became(r, parts, unseal)
	said := []json.RawMessage{parts.Data}
	if e.Sealed == Shown {
		said = append(said, parts.Sealed)
	}
	for _, part := range said {
		if err := json.Unmarshal(part, &e.Data); err != nil {
			return Event{}, fmt.Errorf("event %d: %w", r.Position, err)
		}
	}
	return e, nil
}

func became(r *eventstore.Recorded, parts eventstore.Parts, unseal bool) Sealed {
	switch {
	case r.Erased:
		return Erased
	case !parts.Private:
		return None
	case !unseal:
		return Withheld
	case parts.Err != nil:
		return Damaged
	default:
		return Shown
	}
}

func known(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}
