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
	log    Log
	states *states
	queue  *queue
}

// NewHandler returns a handler over the log.
func NewHandler(log Log) *Handler {
	return &Handler{log: log, states: newStates(stateBytes), queue: newQueue()}
}

// Stats says how often a command found its stream's state in memory, and how often it had to read the log.
func (h *Handler) Stats() (hits, misses uint64) {
	h.states.mu.Lock()
	defer h.states.mu.Unlock()
	return h.states.hits, h.states.misses
}

// Handle carries out all steps or none, in one atomic write.
func (h *Handler) Handle(ctx context.Context, steps ...Step) (eventstore.Outcome, error) {
	return h.handle(ctx, nil, steps)
}

// HandleAt carries out one step if its stream is at the version, else it fails with ErrVersionMismatch.
func (h *Handler) HandleAt(ctx context.Context, version int64, step Step) (eventstore.Outcome, error) {
	return h.handle(ctx, &version, []Step{step})
}

func (h *Handler) handle(ctx context.Context, at *int64, steps []Step) (eventstore.Outcome, error) {
	leave, err := h.queue.enter(ctx, streams(steps))
	if err != nil {
		return eventstore.Outcome{}, err
	}
	defer leave()
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

// decide attempts the steps until no other command comes between. What a state that was kept leads to counts only once
// it is appended, since the append would have found the state behind the log; a refusal is decided again on a fresh one.
func (h *Handler) decide(ctx context.Context, at *int64, steps []Step) (eventstore.Outcome, error) {
	fresh := false
	for attempt := 1; ; attempt++ {
		o, stale, err := h.attempt(ctx, at, steps, fresh)
		var lost *eventstore.ErrVersion
		if stale && (at == nil || !errors.As(err, &lost)) {
			fresh = true
			continue
		}
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

// attempt decides every step and appends what was decided. stale tells that it failed, without having written anything,
// on a state that was kept.
func (h *Handler) attempt(ctx context.Context, at *int64, steps []Step, fresh bool) (o eventstore.Outcome, stale bool, err error) {
	kept := false
	writes := make([]eventstore.Write, len(steps))
	decisions := make([]decision, len(steps))
	for i, s := range steps {
		d, err := s.decide(ctx, h, at, fresh)
		kept = kept || d.kept
		if err != nil {
			return o, kept, err
		}
		decisions[i], writes[i] = d, d.write
	}
	o, err = h.log.Append(ctx, writes...)
	if err != nil || o.Replayed {
		for _, s := range steps {
			h.states.drop(s.stream)
		}
		return o, kept && errors.As(err, new(*eventstore.ErrVersion)), err
	}
	for _, d := range decisions {
		h.states.put(d.write.Stream, d.evolve(), d.write.Expect+int64(len(d.write.Events)))
	}
	return o, false, nil
}

// streams returns what the steps are on.
func streams(steps []Step) []eventstore.Stream {
	all := make([]eventstore.Stream, len(steps))
	for i, s := range steps {
		all[i] = s.stream
	}
	return all
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
