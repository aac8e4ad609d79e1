package eventstore

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
)

// Recorded is an event as the log holds it. It is shared between readers and must not be changed.
type Recorded struct {
	Position int64 // in the log, ascending, with gaps
	Stream   Stream
	Version  int64 // in the stream: 1, 2, …
	ID       uuid.UUID
	Type     string // stored name
	Schema   int    // schema version it was stored with
	Subject  uuid.UUID
	Metadata Metadata
	At       time.Time // UTC; never runs backwards within a stream
	Erased   bool      // its subject is forgotten, and its personal fields are gone with the subject's key

	body *body
}

// body decodes an event once, for all its readers.
type body struct {
	vocabulary *events.Vocabulary
	parts      events.Encoded
	client     uuid.UUID // whose machine the metadata tells of; nil where it tells of none
	damaged    error     // why its personal parts could not be opened

	once  sync.Once
	event events.Event
	err   error
}

// Event returns the event in today's shape. Erased fields are zero, and secret fields too, unless a command loaded it.
// The type may be unknown to this binary (events.ErrUnknown) or newer than it (events.ErrNewer), and a sealed value may
// be damaged: that is an error of this event alone.
func (r *Recorded) Event() (events.Event, error) {
	b := r.body
	b.once.Do(func() {
		if b.damaged != nil {
			b.err = b.damaged
			return
		}
		typ, err := b.vocabulary.Named(r.Type)
		if err != nil {
			b.err = err
			return
		}
		b.event, b.err = typ.Decode(r.Schema, b.parts)
	})
	return b.event, b.err
}

// isAbout says whether any of the subjects can be read about in the event.
func (r *Recorded) isAbout(subjects map[uuid.UUID]bool) bool {
	return subjects[r.Subject] && !r.Erased || subjects[r.body.client]
}

// erased returns the event as it reads once the subjects are forgotten. The event itself stays as it is, since readers
// share it.
func (r *Recorded) erased(subjects map[uuid.UUID]bool) *Recorded {
	c := *r
	c.body = &body{vocabulary: r.body.vocabulary, parts: r.body.parts, client: r.body.client, damaged: r.body.damaged}
	if subjects[r.Subject] {
		c.Erased = true
		c.body.parts.Sealed, c.body.parts.Secret, c.body.damaged = nil, nil, nil
	}
	if subjects[r.body.client] {
		c.Metadata.Client, c.body.client = Client{}, uuid.Nil
	}
	return &c
}

// size is about what the event takes in memory, in bytes.
func (r *Recorded) size() int {
	return 512 + len(r.body.parts.Data) + len(r.body.parts.Sealed) + len(r.body.parts.Secret)
}

// NewRecorded makes a recorded event without a log, for tests of folds.
func NewRecorded(v *events.Vocabulary, stream Stream, version, position int64, at time.Time, e events.Event) (*Recorded, error) {
	typ, err := v.Of(e)
	if err != nil {
		return nil, err
	}
	enc, err := typ.Encode(e)
	if err != nil {
		return nil, err
	}
	return &Recorded{
		Position: position, Stream: stream, Version: version, ID: newID(), Type: typ.Name, Schema: typ.Version,
		Subject: enc.Subject, At: at, body: &body{vocabulary: v, parts: enc},
	}, nil
}

// Reading returns a copy of the event that reads as e, whatever is stored. It is for tests of folds.
func (r *Recorded) Reading(e events.Event) *Recorded {
	c := *r
	c.body = &body{vocabulary: r.body.vocabulary, parts: r.body.parts, event: e}
	c.body.once.Do(func() {}) // there is nothing left to decode
	return &c
}
