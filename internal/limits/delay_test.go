package limits

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsDoubleFromTheFifthFailureToAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newLimiter(t, "", nil).LoginDelay()
		for n, want := range []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60} {
			wait := d.Begin(t.Context(), "ann")
			if wait != want*time.Second {
				t.Fatalf("after %d failures: got a wait of %s, want %s", n, wait, want*time.Second)
			}
			if time.Sleep(wait); wait > 0 {
				if again := d.Begin(t.Context(), "ann"); again != 0 {
					t.Fatalf("after %d failures and the wait: %s more", n, again)
				}
			}
			d.Failed(t.Context(), "ann")
		}
		if wait := d.Begin(t.Context(), "bob"); wait != 0 {
			t.Errorf("another key waits %s", wait)
		}
	})
}

// Tries that are refused make nothing worse: otherwise whoever keeps trying would keep everybody else out for good.
func TestARefusedTryCountsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newLimiter(t, "", nil).LoginDelay()
		for range 7 {
			d.Failed(t.Context(), "ann")
		}
		first := d.Begin(t.Context(), "ann")
		for range 100 {
			d.Begin(t.Context(), "ann")
		}
		if again := d.Begin(t.Context(), "ann"); first != 4*time.Second || again != first {
			t.Errorf("got %s, and %s after a hundred more", first, again)
		}
	})
}

func TestTriesAtOnceAreNoWayAroundTheWait(t *testing.T) {
	t.Parallel()
	d := newLimiter(t, "login.delay=4/1h", nil).LoginDelay()
	for range 10 {
		d.Failed(t.Context(), "ann")
	}
	forward(d, "ann", time.Minute)
	if got := allowed(t, 100, func() bool { return d.Begin(t.Context(), "ann") == 0 }); got != 1 {
		t.Errorf("%d of 100 were let through after the wait, want 1", got)
	}
}

// forward makes a key's last failure older.
func forward(d Delay, key string, by time.Duration) {
	name := d.backoff.Name + ":" + d.l.hide(key)
	_ = swap(context.Background(), d.l.memory, name, func(f failures, _ time.Time) (failures, bool) {
		return failures{n: f.n, last: f.last.Add(-by)}, true
	})
}

func TestSuccessAndAnHourOfPeaceForgetFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newLimiter(t, "", nil).LoginDelay()
		for range 20 {
			d.Failed(t.Context(), "ann")
			d.Failed(t.Context(), "bob")
		}
		d.Succeeded(t.Context(), "ann")
		if wait := d.Begin(t.Context(), "ann"); wait != 0 {
			t.Errorf("after a success: %s", wait)
		}
		time.Sleep(time.Hour + time.Millisecond)
		if wait := d.Begin(t.Context(), "bob"); wait != 0 {
			t.Errorf("after an hour: %s", wait)
		}
		d.Failed(t.Context(), "bob")
		if wait := d.Begin(t.Context(), "bob"); wait != 0 {
			t.Errorf("the first failure after that: %s", wait)
		}
	})
}
