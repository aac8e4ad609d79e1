package wait_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-platform/atlas/internal/wait"
)

// forEver is longer than any test may take.
const forEver = time.Hour

func TestATimeIsWaitedFor(t *testing.T) {
	t.Parallel()
	const d = 20 * time.Millisecond
	began := time.Now()
	if !wait.For(t.Context(), d) {
		t.Error("the context has ended, it says")
	}
	if took := time.Since(began); took < d {
		t.Errorf("waited for %v, want %v at least", took, d)
	}
}

func TestNoTimeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	synctest.Test(t, func(t *testing.T) {
		for _, d := range []time.Duration{0, -1, -forEver} {
			began := time.Now()
			if !wait.For(t.Context(), d) {
				t.Errorf("%s: the context has ended, it says", d)
			}
			if wait.For(ended, d) {
				t.Errorf("%s: it says that the context holds", d)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: waited for %s", d, took)
			}
		}
	})
}

func TestTheEndOfItsContextEndsAWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if wait.For(ctx, forEver) {
		t.Error("it says that the context holds")
	}
	for range 100 { // where all are there at once, the end counts
		ready := make(chan struct{})
		close(ready)
		if wait.Until(ctx, ready, 0) {
			t.Fatal("it says that the context holds")
		}
	}
}

func TestASignalEndsAWait(t *testing.T) {
	t.Parallel()
	given, closed := make(chan struct{}, 1), make(chan struct{})
	given <- struct{}{}
	close(closed)
	for _, signal := range []chan struct{}{given, closed} {
		if !wait.Until(t.Context(), signal, forEver) {
			t.Error("the context has ended, it says")
		}
	}
	if len(given) != 0 {
		t.Error("the signal was not taken")
	}
}
