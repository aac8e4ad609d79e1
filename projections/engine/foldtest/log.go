package foldtest

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// log is the events of a claim, as folds read them.
type log struct {
	all       []*reading
	forgotten map[uuid.UUID]int // who, and the index of the event that says so
}

// reading is an event in its two states: with what is sealed in it, and as it reads once its subject is forgotten.
type reading struct {
	whole, erased *eventstore.Recorded
	events        []held // what the folds are given, of either
}

var errNoEvents = errors.New("a claim needs events: say what is given")

func newLog(all []given) (*log, error) {
	if len(all) == 0 {
		return nil, errNoEvents
	}
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		return nil, err
	}
	l, versions := &log{forgotten: map[uuid.UUID]int{}}, map[eventstore.Stream]int64{}
	for i, g := range all {
		typ, err := vocabulary.Of(g.event)
		if err != nil {
			return nil, err
		}
		stream := eventstore.NewStream(typ.Category(), g.stream)
		versions[stream]++
		r, err := eventstore.NewRecorded(vocabulary, stream, versions[stream], Position(i+1), At(i+1), g.event)
		if err != nil {
			return nil, err
		}
		r.Metadata = g.metadata
		read, err := readings(typ, r, g.event)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		l.all = append(l.all, read)
		if f, is := g.event.(events.SubjectForgotten); is {
			l.forgotten[f.SubjectID] = i
		}
	}
	return l, nil
}

// readings reads an event as it would come out of the log.
func readings(typ events.Type, r *eventstore.Recorded, e events.Event) (*reading, error) {
	stored, err := typ.Encode(e)
	if err != nil {
		return nil, err
	}
	whole, err := typ.Decode(typ.Version, events.Encoded{Data: stored.Data, Sealed: stored.Sealed})
	if err != nil {
		return nil, err
	}
	erased, err := typ.Decode(typ.Version, events.Encoded{Data: stored.Data})
	if err != nil {
		return nil, err
	}
	w, x := hold(whole), hold(erased)
	read := &reading{whole: r.Reading(w.event), erased: r.Reading(x.event), events: []held{w, x}}
	read.erased.Erased = true
	return read, nil
}

// read returns the log as it reads where the keys of the forgotten went when it was read up to there, or when it comes
// to where the log says so.
func (l *log) read(upto int) []*eventstore.Recorded {
	gone := func(i int, subject uuid.UUID) bool {
		said, forgotten := l.forgotten[subject]
		return forgotten && (i >= upto || i > said)
	}
	all := make([]*eventstore.Recorded, len(l.all))
	for i, r := range l.all {
		all[i] = r.whole
		if gone(i, r.whole.Subject) {
			all[i] = r.erased
		}
		if gone(i, whoseMachine(r.whole)) {
			without := *all[i]
			without.Metadata.Client = eventstore.Client{}
			all[i] = &without
		}
	}
	return all
}

// whoseMachine returns whose key seals what is known of the caller's machine.
func whoseMachine(r *eventstore.Recorded) uuid.UUID {
	if r.Metadata.Actor != uuid.Nil {
		return r.Metadata.Actor
	}
	return r.Subject
}

// changed says which event a fold has changed, if any.
func (l *log) changed() error {
	for i, r := range l.all {
		for _, h := range r.events {
			if how := h.changed(); how != "" {
				return fmt.Errorf("a fold %s event %d (%s): events are shared, so copy a slice or a map before you change it", how, i+1, r.whole.Type)
			}
		}
	}
	return nil
}
