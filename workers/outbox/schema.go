package outbox

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// dialect is the JSON Schema that contracts are written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// Schema is what a contract promises of a payload, as JSON Schema 2020-12. Fields that it does not name may come: whoever
// reads a message lets them pass.
type Schema struct {
	Dialect    string            `json:"$schema,omitempty"`
	ID         string            `json:"$id,omitempty"`
	Title      string            `json:"title,omitempty"`
	Topic      string            `json:"x-topic,omitempty"`
	Type       string            `json:"type"`
	Format     string            `json:"format,omitempty"`
	Properties map[string]Schema `json:"properties,omitempty"`
	Required   []string          `json:"required,omitempty"` // sorted
	Items      *Schema           `json:"items,omitempty"`
}

// Name is the name and version of the contract, "document.created.v1".
func (c Contract) Name() string { return c.name }

// Topic is where the contract's messages lie.
func (c Contract) Topic() string { return c.topic }

// Schema returns what the contract promises of its payloads. It fails where the payload's type cannot be told in a schema.
func (c Contract) Schema() (Schema, error) {
	s, err := schemaOf(c.body)
	if err != nil {
		return Schema{}, fmt.Errorf("contract %s: %w", c.name, err)
	}
	s.Dialect, s.ID, s.Title, s.Topic = dialect, "urn:atlas:contract:"+c.name, c.name, c.topic
	return s, nil
}

// MetadataSchema returns what is promised of the metadata of every message.
func MetadataSchema() Schema {
	text, id := Schema{Type: "string"}, Schema{Type: "string", Format: "uuid"}
	return Schema{
		Dialect: dialect, ID: "urn:atlas:contract:metadata", Title: "metadata", Type: "object",
		Properties: map[string]Schema{
			MetaContract: text, MetaEvent: id, MetaStream: text, MetaStreamVersion: text, MetaPosition: text,
			MetaOccurredAt: {Type: "string", Format: "date-time"}, MetaCorrelation: id, MetaCausation: id, MetaTraceparent: text,
		},
		Required: []string{MetaContract, MetaEvent, MetaOccurredAt, MetaPosition, MetaStream, MetaStreamVersion},
	}
}

// schemaOf returns the schema of a type as encoding/json writes it.
func schemaOf(t reflect.Type) (Schema, error) {
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem())
	}
	switch {
	case t == reflect.TypeFor[uuid.UUID]():
		return Schema{Type: "string", Format: "uuid"}, nil
	case t == reflect.TypeFor[time.Time]():
		return Schema{Type: "string", Format: "date-time"}, nil
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return Schema{}, fmt.Errorf("%s writes its own JSON, which no schema can be made of", t)
	}
	switch t.Kind() {
	case reflect.String:
		return Schema{Type: "string"}, nil
	case reflect.Bool:
		return Schema{Type: "boolean"}, nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return Schema{Type: "integer"}, nil
	case reflect.Float64:
		return Schema{Type: "number"}, nil
	case reflect.Slice:
		items, err := schemaOf(t.Elem())
		return Schema{Type: "array", Items: &items}, err
	case reflect.Struct:
		return objectOf(t)
	default:
		return Schema{}, fmt.Errorf("a contract cannot hold a %s", t)
	}
}

// objectOf returns the schema of a struct. What may be missing is a pointer or a list that is left out when it is empty:
// so nothing is ever null.
func objectOf(t reflect.Type) (Schema, error) {
	s := Schema{Type: "object", Properties: map[string]Schema{}}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			return Schema{}, fmt.Errorf("%s.%s needs a name in its json tag", t, f.Name)
		}
		optional := options == "omitempty"
		if nilable := f.Type.Kind() == reflect.Pointer || f.Type.Kind() == reflect.Slice; nilable != optional {
			return Schema{}, fmt.Errorf("%s.%s: what may be missing is a pointer or a list with omitempty, and nothing else is", t, f.Name)
		}
		field, err := schemaOf(f.Type)
		if err != nil {
			return Schema{}, fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		s.Properties[name] = field
		if !optional {
			s.Required = append(s.Required, name)
		}
	}
	slices.Sort(s.Required)
	return s, nil
}
