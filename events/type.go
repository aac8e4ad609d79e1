package events

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/uuid"
)

// Event is a value of one of the types of the vocabulary.
type Event any

// Upcast lifts the JSON of one schema version to the next. It sees all parts of the event merged into one object,
// sealed fields included where they could be opened.
type Upcast func(json.RawMessage) (json.RawMessage, error)

// Type is one declared kind of event.
type Type struct {
	Name    string // stored; never changes
	Version int    // schema version written today, from 1

	upcasts []Upcast
	shape   shape
}

// Define declares the event type E under its stored name, with the upcasts of its former shapes, oldest first.
func Define[E any](name string, upcasts ...Upcast) Type {
	return Type{
		Name:    name,
		Version: 1 + len(upcasts),
		upcasts: upcasts,
		shape:   shapeOf(reflect.TypeFor[E]()),
	}
}

// Encoded is an event split by who may read it. Sealed and Secret are JSON objects still in the clear, or nil.
type Encoded struct {
	Data    json.RawMessage
	Sealed  json.RawMessage
	Secret  json.RawMessage
	Subject uuid.UUID // whose key seals; nil where nothing is personal
}

// Encode splits an event of this type into its parts.
func (t Type) Encode(e Event) (Encoded, error) {
	v := reflect.ValueOf(e)
	if v.Type() != t.shape.goType {
		return Encoded{}, fmt.Errorf("encode %s: got a %T", t.Name, e)
	}
	enc, err := t.shape.split(v)
	if err != nil {
		return Encoded{}, fmt.Errorf("encode %s: %w", t.Name, err)
	}
	return enc, nil
}

// Outside returns the plain part of an event of this type as it may leave Atlas, whatever its schema version.
func (t Type) Outside(data json.RawMessage) (json.RawMessage, error) {
	out, err := t.shape.outside(data)
	if err != nil {
		return nil, fmt.Errorf("%s outside: %w", t.Name, err)
	}
	return out, nil
}

// Decode returns the event stored with the schema version, in today's shape. A part that is nil leaves its fields zero.
// A version newer than this binary knows is ErrNewer.
func (t Type) Decode(version int, enc Encoded) (Event, error) {
	if version > t.Version {
		return nil, fmt.Errorf("decode %s version %d: %w", t.Name, version, ErrNewer)
	}
	parts := []json.RawMessage{enc.Data, enc.Sealed, enc.Secret}
	if version < t.Version {
		lifted, err := t.lift(version, parts)
		if err != nil {
			return nil, fmt.Errorf("decode %s version %d: %w", t.Name, version, err)
		}
		parts = []json.RawMessage{lifted}
	}
	p := reflect.New(t.shape.goType)
	for _, part := range parts {
		if part == nil {
			continue
		}
		if err := json.Unmarshal(part, p.Interface()); err != nil {
			return nil, fmt.Errorf("decode %s version %d: %w", t.Name, version, err)
		}
	}
	return p.Elem().Interface(), nil
}

// lift merges the parts and applies the upcasts from the stored version on.
func (t Type) lift(version int, parts []json.RawMessage) (json.RawMessage, error) {
	if version < 1 {
		return nil, fmt.Errorf("schema versions start at 1")
	}
	data, err := merge(parts)
	if err != nil {
		return nil, err
	}
	for i, upcast := range t.upcasts[version-1:] {
		if data, err = upcast(data); err != nil {
			return nil, fmt.Errorf("lift to version %d: %w", version+i+1, err)
		}
	}
	return data, nil
}

// merge lays the parts over one another into one JSON object.
func merge(parts []json.RawMessage) (json.RawMessage, error) {
	merged := map[string]json.RawMessage{}
	for _, part := range parts {
		if part == nil {
			continue
		}
		if err := json.Unmarshal(part, &merged); err != nil {
			return nil, err
		}
	}
	return json.Marshal(merged)
}
