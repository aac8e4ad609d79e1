package eventstore

import (
	"encoding/json"

	"github.com/atlas-platform/atlas/events"
)

// Parts is what an event says to others, split by who may read it. What is secret is in neither: only commands read that. Nor is
// what stays within Atlas.
type Parts struct {
	Schema  int             // the schema version that both are in
	Data    json.RawMessage // what is not personal: a JSON object, shared between readers, not to be changed
	Sealed  json.RawMessage // personal fields; nil where there are none, and where they cannot be read
	Private bool            // there are personal fields, whether they can be read or not
	Err     error           // why they cannot be read, though the subject is not forgotten (Recorded.Erased)
}

// Parts returns what the event says in today's shape: for those who hand events on without knowing what they mean. An
// event of a type or a version that is newer than this binary comes as it is stored, and Schema tells: that is the shape
// which the binary that wrote it has.
func (r *Recorded) Parts() Parts {
	stored := Parts{Schema: r.Schema, Data: r.body.parts.Data, Sealed: r.body.parts.Sealed, Err: r.body.damaged}
	stored.Private = stored.Sealed != nil || stored.Err != nil || r.Erased
	typ, err := r.body.vocabulary.Named(r.Type)
	if err != nil {
		return stored
	}
	p := r.today(typ, stored)
	if p.Data, err = typ.Outside(p.Data); err != nil {
		p.Data = json.RawMessage(`{}`) // it is no object, which no event is stored as
	}
	return p
}

// today returns the parts in today's shape.
func (r *Recorded) today(typ events.Type, stored Parts) Parts {
	if r.Schema >= typ.Version || stored.Err != nil {
		return stored
	}
	lifted, err := r.lifted(typ)
	if err != nil {
		return stored
	}
	if stored.Sealed == nil {
		lifted.Sealed = nil
	}
	return Parts{Schema: typ.Version, Data: lifted.Data, Sealed: lifted.Sealed, Private: stored.Private}
}

// lifted takes the event apart again in today's shape.
func (r *Recorded) lifted(typ events.Type) (events.Encoded, error) {
	e, err := r.Event()
	if err != nil {
		return events.Encoded{}, err
	}
	return typ.Encode(e)
}
