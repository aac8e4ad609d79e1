package wait

import (
	"context"
	"time"
)

// For waits for a time, and not at all where that is zero or less. It says false, as soon as that is so, if ctx has ended.
func For(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	return Until(ctx, nil, d)
}

// Until waits until signal can be received from, or is closed, for a time at most. It says false, as soon as that is so, if
// ctx has ended. A nil signal never comes.
func Until(ctx context.Context, signal <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
