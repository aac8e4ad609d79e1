package commands

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of handling itself.
var (
	ErrNotFound        = fault.ErrNotFound
	ErrVersionMismatch = fault.New(fault.Stale, "version_mismatch", "it was changed since you read it; read it again")
	ErrContended       = fault.New(fault.Unavailable, "contended", "too many changes to the same thing at once; try again")
)

// maxDecisions is how often a command is decided before a lost race is given up.
const maxDecisions = 12

// Log is what commands need of the event log.
type Log interface {
	LoadWithSecrets(ctx context.Context, stream eventstore.Stream, from int64) ([]*eventstore.Recorded, error)
	Append(ctx context.Context, writes ...eventstore.Write) (eventstore.Outcome, error)
	Lookup(ctx context.Context, c eventstore.Command) (eventstore.Outcome, bool, error)
}

// Handler carries out commands on a log. It is safe for concurrent use.
type Handler struct {
	log Log
}

// NewHandler returns a handler over the log.
func NewHandler(log Log) *Handler { return &Handler{log: log} }

// Handle carries out all steps or none, in one atomic write.
func (h *Handler) Handle(ctx context.Context, steps ...Step) (eventstore.Outcome, error) {
	return h.handle(ctx, nil, steps)
}

// HandleAt carries out one step if its stream is at the version, else it fails with ErrVersionMismatch.
func (h *Handler) HandleAt(ctx context.Context, version int64, step Step) (eventstore.Outcome, error) {
	return h.handle(ctx, &version, []Step{step})
}

func (h *Handler) handle(ctx context.Context, at *int64, steps []Step) (eventstore.Outcome, error) {
	c := eventstore.CommandFrom(ctx)
	if !c.Given {
		return h.decide(ctx, at, steps)
	}
	if o, found, err := h.log.Lookup(ctx, c); found || err != nil {
		return o, err
	}
	o, err := h.decide(ctx, at, steps)
	if err != nil {
		// The same command may have been carried out since the first look; what refused this try is then its doing.
		first, found, lookup := h.log.Lookup(ctx, c)
		if found || errors.Is(lookup, eventstore.ErrCommandReused) {
			return first, lookup
		}
	}
	return o, err
}

// decide attempts the steps until no other command comes between.
func (h *Handler) decide(ctx context.Context, at *int64, steps []Step) (eventstore.Outcome, error) {
	for attempt := 1; ; attempt++ {
		o, err := h.attempt(ctx, at, steps)
		var lost *eventstore.ErrVersion
		switch {
		case !errors.As(err, &lost):
			return o, err
		case at != nil:
			return eventstore.Outcome{}, ErrVersionMismatch
		case attempt == maxDecisions:
			return eventstore.Outcome{}, fmt.Errorf("%w: %w", ErrContended, lost)
		}
		if err := backOff(ctx, attempt); err != nil {
			return eventstore.Outcome{}, err
		}
	}
}

// attempt decides every step on what is there now and appends what was decided.
func (h *Handler) attempt(ctx context.Context, at *int64, steps []Step) (eventstore.Outcome, error) {
	writes := make([]eventstore.Write, len(steps))
	for i, s := range steps {
		w, err := s.decide(ctx, h.log, at)
		if err != nil {
			return eventstore.Outcome{}, err
		}
		writes[i] = w
	}
	return h.log.Append(ctx, writes...)
}

// backOff waits a random time that grows with the attempts, so that competitors do not meet again.
func backOff(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Duration(attempt) * 4 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
