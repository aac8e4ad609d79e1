package foldtest

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Claim is a claim about the rows that a view makes of some events. It is a value: what is given to it makes another.
type Claim[R any] struct {
	t        *testing.T
	view     *engine.View[R]
	metadata eventstore.Metadata
	log      []given
}

// given is an event of the log.
type given struct {
	stream   uuid.UUID
	event    events.Event
	metadata eventstore.Metadata
}

// Of begins a claim about a view, with an empty log.
func Of[R any](t *testing.T, view *engine.View[R]) Claim[R] {
	t.Helper()
	return Claim[R]{t: t, view: view}
}

// At returns when the nth event of the log, from 1, was recorded: a minute after the one before.
func At(n int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC).Add(time.Duration(n) * time.Minute)
}

// Position returns the position of the nth event of the log, from 1.
func Position(n int) int64 { return 10 * int64(n) }

// With says what the events given from here on are recorded with.
func (c Claim[R]) With(m eventstore.Metadata) Claim[R] {
	c.metadata = m
	return c
}

// Given adds events to the log. Each gets the next position, and the next version of the stream with that id and of the
// category that its type has.
func (c Claim[R]) Given(stream uuid.UUID, all ...events.Event) Claim[R] {
	c.log = slices.Clone(c.log)
	for _, e := range all {
		c.log = append(c.log, given{stream: stream, event: e, metadata: c.metadata})
	}
	return c
}

// Forgotten says that a person is forgotten at this point of the log. Their rows go here, and events about them that come
// later make none.
func (c Claim[R]) Forgotten(subject uuid.UUID) Claim[R] {
	return c.Given(subject, events.SubjectForgotten{SubjectID: subject})
}

// Then holds that the view has these rows, in any order, and no others, however the log is folded.
func (c Claim[R]) Then(want ...R) {
	c.t.Helper()
	if err := c.Check(want...); err != nil {
		c.t.Fatal(err)
	}
}

// ThenNothing holds that the view has no row.
func (c Claim[R]) ThenNothing() {
	c.t.Helper()
	c.Then()
}

// Check is Then for who wants to know what is wrong.
func (c Claim[R]) Check(want ...R) (err error) {
	c.t.Helper()
	wanted, err := c.rowsOf(want)
	if err != nil {
		return err
	}
	log, err := newLog(c.log)
	if err != nil {
		return err
	}
	synctest.Test(c.t, func(*testing.T) { err = newTrial(c.view, log, wanted).run() })
	return err
}

// rowsOf names rows by their keys.
func (c Claim[R]) rowsOf(rows []R) (map[string]R, error) {
	named := map[string]R{}
	for _, row := range rows {
		name := c.view.Key(row)
		if _, twice := named[name]; twice {
			return nil, fmt.Errorf("two of the rows that are wanted have the key %s", name)
		}
		named[name] = row
	}
	return named, nil
}
