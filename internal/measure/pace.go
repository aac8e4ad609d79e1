package measure

import (
	"context"
	"sync"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// Paced takes a sample of acts that begin so many a second, evenly, for about so long, whether or not those before have
// ended. What an act took is counted from when it was due: one that began late, since the process was kept from
// beginning it, has taken so much longer. The first error ends the sample.
func Paced(ctx context.Context, rate int, length time.Duration, act func(ctx context.Context) error) (*Sample, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	count := max(int(float64(rate)*length.Seconds()), 1)
	took := make([]time.Duration, count)
	started := time.Now()
	var all sync.WaitGroup
	for n := range count {
		due := started.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if !until(ctx, due) {
			break
		}
		all.Go(func() {
			if err := act(ctx); err != nil {
				stop(err)
				return
			}
			took[n] = time.Since(due)
		})
	}
	all.Wait()
	s := &Sample{Took: time.Since(started)}
	for _, t := range took {
		if t > 0 {
			s.Units++
			s.Latencies.Add(t)
		}
	}
	return s, context.Cause(ctx)
}

// until waits for a moment, and says false if ctx ended first.
func until(ctx context.Context, moment time.Time) bool {
	left := time.Until(moment)
	if left <= 0 {
		return ctx.Err() == nil
	}
	return wait.For(ctx, left)
}
