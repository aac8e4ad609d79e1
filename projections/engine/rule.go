package engine

import (
	"reflect"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// Recorded is an event as a fold sees it: the event itself, and where and when it was recorded.
type Recorded[E any] struct {
	*eventstore.Recorded
	Event E
}

// Rule says what one event type does to a row. Make one with On or Delete.
type Rule struct {
	event  reflect.Type
	row    reflect.Type // nil where any row will do
	apply  func(row any, r *eventstore.Recorded, e events.Event)
	remove bool
}

// On folds events of type E into a row. A row that does not exist yet comes with its key and zero values.
func On[R, E any](fold func(row *R, e Recorded[E])) Rule {
	return Rule{
		event: reflect.TypeFor[E](),
		row:   reflect.TypeFor[R](),
		apply: func(row any, r *eventstore.Recorded, e events.Event) {
			fold(row.(*R), Recorded[E]{Recorded: r, Event: e.(E)})
		},
	}
}

// Delete removes the row when an event of type E comes.
func Delete[E any]() Rule {
	return Rule{event: reflect.TypeFor[E](), remove: true}
}
