package measure

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Sample is what one side did in one go.
type Sample struct {
	Units     int64 // events, messages, requests
	Took      time.Duration
	Latencies Latencies // of each act; empty where a sample is one act
}

// Rate returns the units per second.
func (s *Sample) Rate() float64 { return float64(s.Units) / s.Took.Seconds() }

// Clients takes a sample with so many clients, each of which acts again as soon as its last act is done, for about so
// long. An act says how many units it did. The first error ends the sample; what was done before it still counts.
func Clients(ctx context.Context, clients int, length time.Duration, act func(ctx context.Context, client int) (units int64, err error)) (*Sample, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts, faults := make([]Sample, clients), make([]error, clients)
	started := time.Now()
	end := started.Add(length)
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for begun := time.Now(); begun.Before(end) && ctx.Err() == nil; {
				units, err := act(ctx, c)
				if err != nil {
					faults[c] = err
					stop()
					return
				}
				now := time.Now()
				parts[c].Latencies.Add(now.Sub(begun))
				parts[c].Units += units
				begun = now
			}
		})
	}
	all.Wait()
	total := &Sample{Took: time.Since(started)}
	for c := range parts {
		total.Units += parts[c].Units
		total.Latencies.Merge(&parts[c].Latencies)
	}
	if err := first(faults); err != nil {
		return total, err
	}
	return total, ctx.Err()
}

// first returns the first error that is no echo of another's.
func first(faults []error) error {
	var echo error
	for _, err := range faults {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			echo = err
		default:
			return err
		}
	}
	return echo
}
