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

// Rule says what one event type does to a row. Make one with Create, Change, On or Delete.
type Rule struct {
	event  reflect.Type
	row    reflect.Type // nil where any row will do
	apply  func(row any, r *eventstore.Recorded, e events.Event)
	effect effect
}

// effect is what a rule does about the row being there or not.
type effect int

const (
	createsOrChanges effect = iota
	creates
	changes
	removes
)

// Create makes the row: the fold gets its key and zero values. A row that is there is begun anew.
func Create[R, E any](fold func(row *R, e Recorded[E])) Rule { return ruleOf(creates, fold) }

// Change changes a row that is there. Where it is not, because it was deleted or never made, the event does nothing, so
// that no row is made of what happens to something that is gone.
func Change[R, E any](fold func(row *R, e Recorded[E])) Rule { return ruleOf(changes, fold) }

// On changes the row, and makes it where it is not there, from its key and zero values. It is for rows that any of several
// events may begin, such as counts; for those that begin with one and may end, Create and Change are safe.
func On[R, E any](fold func(row *R, e Recorded[E])) Rule { return ruleOf(createsOrChanges, fold) }

func ruleOf[R, E any](does effect, fold func(row *R, e Recorded[E])) Rule {
	return Rule{
		event: reflect.TypeFor[E](),
		row:   reflect.TypeFor[R](),
		apply: func(row any, r *eventstore.Recorded, e events.Event) {
			fold(row.(*R), Recorded[E]{Recorded: r, Event: e.(E)})
		},
		effect: does,
	}
}

// Delete removes the row when an event of type E comes. Events that Change it find nothing from then on; one that may
// Create it makes it anew.
func Delete[E any]() Rule {
	return Rule{event: reflect.TypeFor[E](), effect: removes}
}
