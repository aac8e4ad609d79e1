package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/uuid"
)

// shape is what the struct tags of an event say: which of its fields are personal, and whose they are.
type shape struct {
	goType  reflect.Type
	subject int // index of the subject's field, -1 without
	data    part
	sealed  part
	secret  part
	inside  []string // members of data that stay within Atlas
	fault   error    // why the type cannot be used; reported by NewVocabulary
}

// part is a subset of a struct's fields, as a struct type of its own so that encoding/json does the work.
type part struct {
	fields []int
	goType reflect.Type
}

func shapeOf(t reflect.Type) shape {
	s := shape{goType: t, subject: -1}
	if t.Kind() != reflect.Struct {
		s.fault = fmt.Errorf("%s is not a struct", t)
		return s
	}
	for i := range t.NumField() {
		s.place(i, t.Field(i))
	}
	if s.subject < 0 && len(s.sealed.fields)+len(s.secret.fields) > 0 {
		s.fault = fmt.Errorf("%s has sealed fields but no `pii:\"subject\"`", t)
	}
	for _, p := range []*part{&s.data, &s.sealed, &s.secret} {
		p.goType = subset(t, p.fields)
	}
	return s
}

// place puts one field into its part.
func (s *shape) place(i int, f reflect.StructField) {
	if !f.IsExported() || f.Anonymous {
		s.fault = fmt.Errorf("%s.%s must be exported and not embedded", s.goType, f.Name)
		return
	}
	switch tag := f.Tag.Get("pii"); tag {
	case "":
		s.data.fields = append(s.data.fields, i)
	case "subject":
		if f.Type != reflect.TypeFor[uuid.UUID]() || s.subject >= 0 {
			s.fault = fmt.Errorf("%s.%s: the one subject must be a uuid.UUID", s.goType, f.Name)
		}
		s.subject = i
		s.data.fields = append(s.data.fields, i)
	case "inside":
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		s.inside = append(s.inside, cmp.Or(name, f.Name))
		s.data.fields = append(s.data.fields, i)
	case "seal":
		s.sealed.fields = append(s.sealed.fields, i)
	case "secret":
		s.secret.fields = append(s.secret.fields, i)
	default:
		s.fault = fmt.Errorf("%s.%s: unknown tag pii:%q", s.goType, f.Name, tag)
	}
}

// outside leaves out of data what stays within Atlas.
func (s shape) outside(data json.RawMessage) (json.RawMessage, error) {
	if len(s.inside) == 0 {
		return data, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	for _, name := range s.inside {
		delete(members, name)
	}
	return json.Marshal(members)
}

func subset(t reflect.Type, fields []int) reflect.Type {
	out := make([]reflect.StructField, 0, len(fields))
	for _, i := range fields {
		f := t.Field(i)
		out = append(out, reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag})
	}
	return reflect.StructOf(out)
}

// split encodes a value of the shape part by part.
func (s shape) split(v reflect.Value) (enc Encoded, err error) {
	if enc.Data, err = s.data.encode(v); err != nil {
		return Encoded{}, err
	}
	if len(s.sealed.fields) > 0 {
		if enc.Sealed, err = s.sealed.encode(v); err != nil {
			return Encoded{}, err
		}
	}
	if len(s.secret.fields) > 0 {
		if enc.Secret, err = s.secret.encode(v); err != nil {
			return Encoded{}, err
		}
	}
	if s.subject >= 0 {
		enc.Subject = v.Field(s.subject).Interface().(uuid.UUID)
	}
	if enc.Subject == uuid.Nil && (enc.Sealed != nil || enc.Secret != nil) {
		return Encoded{}, fmt.Errorf("the subject is missing")
	}
	return enc, nil
}

func (p part) encode(v reflect.Value) (json.RawMessage, error) {
	out := reflect.New(p.goType).Elem()
	for to, from := range p.fields {
		out.Field(to).Set(v.Field(from))
	}
	return json.Marshal(out.Interface())
}
