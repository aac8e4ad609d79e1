package commands

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Decider is an aggregate: S is its state, C its commands, E its events. The state of a stream without events is the
// zero value.
type Decider[S, C, E any] struct {
	Category string
	Decide   func(S, C) ([]E, error)
	Evolve   func(S, E) S
}

// Step is one command on one stream, to be handled alone or together with others.
type Step struct {
	stream eventstore.Stream
	decide func(ctx context.Context, log Log, at *int64) (eventstore.Write, error)
}

// On makes a step: the command, on the aggregate with the id.
func (d Decider[S, C, E]) On(id uuid.UUID, command C) Step {
	stream := eventstore.NewStream(d.Category, id)
	return Step{stream: stream, decide: func(ctx context.Context, log Log, at *int64) (eventstore.Write, error) {
		state, version, err := d.load(ctx, log, id)
		if err != nil {
			return eventstore.Write{}, err
		}
		decided, err := d.Decide(state, command)
		if at != nil && *at != version && !hidden(err) {
			return eventstore.Write{}, ErrVersionMismatch
		}
		if err != nil {
			return eventstore.Write{}, err
		}
		return eventstore.Write{Stream: stream, Expect: version, Events: erase(decided)}, nil
	}}
}

// hidden says whether err tells the caller that there is nothing here for them. It goes before a version mismatch,
// which would tell that there is.
func hidden(err error) bool {
	_, f, is := fault.Of(err)
	return is && f.Kind() == fault.NotFound
}

// load folds a stream into the state, and says which version it is at.
func (d Decider[S, C, E]) load(ctx context.Context, log Log, id uuid.UUID) (state S, version int64, err error) {
	recorded, err := log.LoadWithSecrets(ctx, eventstore.NewStream(d.Category, id), 1)
	if err != nil {
		return state, 0, err
	}
	for _, r := range recorded {
		e, err := r.Event()
		if err != nil {
			return state, 0, fmt.Errorf("%s version %d: %w", r.Stream, r.Version, err)
		}
		fact, ours := e.(E)
		if !ours {
			return state, 0, fmt.Errorf("%s version %d: %s does not belong in this stream", r.Stream, r.Version, r.Type)
		}
		state, version = d.Evolve(state, fact), r.Version
	}
	return state, version, nil
}

// erase forgets the closed set an event belongs to.
func erase[E any](decided []E) []events.Event {
	all := make([]events.Event, len(decided))
	for i, e := range decided {
		all[i] = e
	}
	return all
}
