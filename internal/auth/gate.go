package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrBusy turns a caller away because more work is waiting than can be done soon.
var ErrBusy = fault.ErrBusy

// gate lets a few callers work at once and a few more wait, and turns the rest away at once: a queue that only grows
// would make everyone wait for answers nobody is there to read.
type gate struct {
	places chan struct{} // held while working or waiting
	slots  chan struct{} // held while working
}

func newGate(working, waiting int) gate {
	return gate{places: make(chan struct{}, working+waiting), slots: make(chan struct{}, working)}
}

// enter returns when the caller may work, and must be paired with leave unless it fails.
func (g gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a free processor: %w", err)
	}
	select {
	case g.places <- struct{}{}:
	default:
		return ErrBusy.RetryAfter(time.Second)
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-g.places
		return fmt.Errorf("wait for a free processor: %w", ctx.Err())
	}
}

func (g gate) leave() {
	<-g.slots
	<-g.places
}
