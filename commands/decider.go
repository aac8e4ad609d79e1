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
	decide func(ctx context.Context, h *Handler, at *int64, fresh bool) (decision, error)
}

// decision is what a step has come to.
type decision struct {
	write  eventstore.Write
	kept   bool       // it was decided on a state that was kept, and so may be behind the log
	evolve func() any // the state it leaves
}

// On makes a step: the command, on the aggregate with the id.
func (d Decider[S, C, E]) On(id uuid.UUID, command C) Step {
	stream := eventstore.NewStream(d.Category, id)
	return Step{stream: stream, decide: func(ctx context.Context, h *Handler, at *int64, fresh bool) (decision, error) {
		state, version, kept, err := d.current(ctx, h, stream, fresh)
		if err != nil {
			return decision{}, err
		}
		decided, err := d.Decide(state, command)
		if at != nil && *at != version && !hidden(err) {
			err = ErrVersionMismatch
		}
		return decision{
			write:  eventstore.Write{Stream: stream, Expect: version, Events: erase(decided)},
			kept:   kept,
			evolve: func() any { return d.fold(state, decided) },
		}, err
	}}
}

// current returns the state that was kept of a stream, or, where there is none or a fresh one is asked for, the one in
// the log.
func (d Decider[S, C, E]) current(ctx context.Context, h *Handler, stream eventstore.Stream, fresh bool) (state S, version int64, kept bool, err error) {
	if !fresh {
		if found, version, ok := h.states.find(stream); ok {
			return found.(S), version, true, nil
		}
	}
	state, version, err = d.load(ctx, h.log, stream.ID)
	return state, version, false, err
}

func (d Decider[S, C, E]) fold(state S, decided []E) S {
	for _, e := range decided {
		state = d.Evolve(state, e)
	}
	return state
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
			return state, 0, fmt.Errorf("%s version %d: %w", r.Stream, r.Version, unreadable(err))
		}
		fact, ours := e.(E)
		if !ours {
			return state, 0, fmt.Errorf("%s version %d: %s does not belong in this stream", r.Stream, r.Version, r.Type)
		}
		state, version = d.Evolve(state, fact), r.Version
	}
	return state, version, nil
}

// unreadable tells what a newer release wrote, beside which this one runs, from what is broken.
func unreadable(err error) error {
	if events.Beyond(err) {
		return fmt.Errorf("%w: %w", fault.ErrNewer, err)
	}
	return err
}

// erase forgets the closed set an event belongs to.
func erase[E any](decided []E) []events.Event {
	all := make([]events.Event, len(decided))
	for i, e := range decided {
		all[i] = e
	}
	return all
}
