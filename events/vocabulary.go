package events

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// ErrUnknown says that an event's type is not in this binary's vocabulary.
var ErrUnknown = errors.New("event type unknown to this binary")

// ErrNewer says that an event was written in a shape newer than this binary knows. A newer binary must take it.
var ErrNewer = errors.New("event of a newer schema version than this binary knows")

// Beyond says whether an error is that this binary is too old for an event: it is of a newer shape, or of a type that only
// another binary knows. It is not the event's fault, and a newer binary must take it.
func Beyond(err error) bool { return errors.Is(err, ErrNewer) || errors.Is(err, ErrUnknown) }

// Vocabulary finds types by stored name and by Go type. It is immutable.
type Vocabulary struct {
	names map[string]Type
	goes  map[reflect.Type]Type
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$`)

// NewVocabulary makes a vocabulary of the types. It returns every fault of the declarations at once: a name taken
// twice or badly formed, a Go type declared twice, personal fields without a subject.
func NewVocabulary(types ...Type) (*Vocabulary, error) {
	v := &Vocabulary{names: map[string]Type{}, goes: map[reflect.Type]Type{}}
	var faults []error
	for _, t := range types {
		faults = append(faults, v.add(t))
	}
	return v, errors.Join(faults...)
}

func (v *Vocabulary) add(t Type) error {
	if t.shape.fault != nil {
		return fmt.Errorf("event %s: %w", t.Name, t.shape.fault)
	}
	if !namePattern.MatchString(t.Name) {
		return fmt.Errorf("event name %q is not of the form category.fact in lower case", t.Name)
	}
	if _, taken := v.names[t.Name]; taken {
		return fmt.Errorf("event name %q is declared twice", t.Name)
	}
	if _, taken := v.goes[t.shape.goType]; taken {
		return fmt.Errorf("event type %s is declared twice", t.shape.goType)
	}
	v.names[t.Name], v.goes[t.shape.goType] = t, t
	return nil
}

// Named returns the type with the stored name.
func (v *Vocabulary) Named(name string) (Type, error) {
	t, ok := v.names[name]
	if !ok {
		return Type{}, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return t, nil
}

// Names returns the stored names of all types, in order.
func (v *Vocabulary) Names() []string { return slices.Sorted(maps.Keys(v.names)) }

// Categories returns the categories of the streams that hold the types, in order.
func (v *Vocabulary) Categories() (all []string) {
	for _, name := range v.Names() {
		all = append(all, v.names[name].Category())
	}
	return slices.Compact(all)
}

// Of returns the type of an event.
func (v *Vocabulary) Of(e Event) (Type, error) { return v.OfGo(reflect.TypeOf(e)) }

// OfGo returns the type declared for a Go type.
func (v *Vocabulary) OfGo(t reflect.Type) (Type, error) {
	declared, ok := v.goes[t]
	if !ok {
		return Type{}, fmt.Errorf("%v is not declared in the catalogue of events", t)
	}
	return declared, nil
}

// Category returns the part of the name before the dot: the category of the streams that hold the type.
func (t Type) Category() string {
	category, _, _ := strings.Cut(t.Name, ".")
	return category
}
