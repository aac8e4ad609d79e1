package limits

import (
	"context"
	"time"

	"github.com/throttled/throttled/v2"
)

// forgetFailures is how long after the last failure a key starts afresh.
const forgetFailures = time.Hour

// Delay makes tries wait after failures. Nobody is locked out: see the package's comment.
type Delay struct {
	l       *Limiter
	backoff Backoff
}

// LoginDelay returns the delay of sign-ins.
func (l *Limiter) LoginDelay() Delay { return Delay{l: l, backoff: l.settings.Login} }

// failures is what is kept of a key: how many tries failed in a row, and when the last one was made.
type failures struct {
	n    int64
	last time.Time
}

// A count and a time in milliseconds share the one number that stores keep: 44 bits hold the time for 500 years.
const timeBits = 44

func (f failures) pack() int64 { return min(f.n, 1<<16)<<timeBits | f.last.UnixMilli() }

func unpack(v int64, now time.Time) failures {
	f := failures{n: v >> timeBits, last: time.UnixMilli(v & (1<<timeBits - 1))}
	if v < 0 || now.Sub(f.last) > forgetFailures {
		return failures{last: now}
	}
	return f
}

// wait returns how long after its last try a key has to wait.
func (b Backoff) wait(n int64) time.Duration {
	over := n - int64(b.Free) - 1
	if b.Max == 0 || over < 0 {
		return 0
	}
	return min(time.Second<<min(over, 30), b.Max)
}

// Begin asks whether a key may try now. Where it has to wait it returns for how long; where it had to, and may try now,
// the try takes the one place there is until the next wait is over.
func (d Delay) Begin(ctx context.Context, key string) (wait time.Duration) {
	d.change(ctx, key, func(f failures, now time.Time) (failures, bool) {
		needed := d.backoff.wait(f.n)
		if wait = f.last.Add(needed).Sub(now); needed == 0 || wait < 0 {
			wait = 0
		}
		return failures{n: f.n, last: now}, needed > 0 && wait == 0
	})
	if wait > 0 {
		d.l.refused.add(d.backoff.Name)
	}
	return wait
}

// Failed counts a try that failed.
func (d Delay) Failed(ctx context.Context, key string) {
	d.change(ctx, key, func(f failures, now time.Time) (failures, bool) {
		return failures{n: f.n + 1, last: now}, d.backoff.Max > 0
	})
}

// Succeeded forgets the key's failures.
func (d Delay) Succeeded(ctx context.Context, key string) {
	d.change(ctx, key, func(f failures, now time.Time) (failures, bool) { return failures{last: now}, f.n > 0 })
}

// change applies a function to what is kept of a key, as often as it takes for nobody to come between.
func (d Delay) change(ctx context.Context, key string, f func(failures, time.Time) (next failures, write bool)) {
	name := d.backoff.Name + ":" + d.l.hide(key)
	if d.l.shared != nil {
		err := d.l.shared.try(ctx, func(ctx context.Context) error { return swap(ctx, d.l.shared.store, name, f) })
		if err == nil {
			return
		}
	}
	// Memory fails only where too many change one count at once: those then count as one.
	_ = swap(ctx, d.l.memory, name, f)
}

func swap(ctx context.Context, store throttled.GCRAStoreCtx, key string, f func(failures, time.Time) (failures, bool)) error {
	for range busyTries {
		stored, now, err := store.GetWithTime(ctx, key)
		if err != nil {
			return err
		}
		next, write := f(unpack(stored, now), now)
		if !write {
			return nil
		}
		done := false
		if stored < 0 {
			done, err = store.SetIfNotExistsWithTTL(ctx, key, next.pack(), forgetFailures)
		} else {
			done, err = store.CompareAndSwapWithTTL(ctx, key, stored, next.pack(), forgetFailures)
		}
		if done || err != nil {
			return err
		}
	}
	return errBusy
}
