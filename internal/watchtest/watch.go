package watchtest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// How long Eventually waits between two looks: briefly at first, and then a tenth of the time it has waited so far, since what
// it waits for runs on the same machine, and a look may cost a query or a request.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// Eventually waits until something holds that nothing announces, and fails the test if it takes too long. The limit is for
// liveness on a busy machine, not for speed: be generous.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	if !Holds(within, holds) {
		t.Fatalf("waited %s in vain: %s", within, what)
	}
}

// Holds waits until something holds, and says whether it came to that in time.
func Holds(within time.Duration, holds func() bool) bool {
	began := time.Now()
	for !holds() {
		waited := time.Since(began)
		if waited > within {
			return false
		}
		time.Sleep(min(max(waited/10, firstPause), lastPause))
	}
	return true
}

// A look of Soon, with the pause behind it, on a machine that has nothing else to do.
const soonPause = 20 * time.Millisecond

// Soon waits for something that has to hold within a time which is part of the claim, and fails the test if it does not. The
// time is counted in looks of 20 ms. Each should ask whoever has to bring it about, by a request or a query: where these take
// longer, since the machine is busy, so does the time.
func Soon(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	began := time.Now()
	for range within / soonPause {
		if holds() {
			return
		}
		time.Sleep(soonPause)
	}
	if !holds() {
		t.Fatalf("waited for %s of looks in vain, %s by the clock: %s", within, time.Since(began), what)
	}
}

// Output is what something writes while the test reads it. The zero value is ready.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String returns all that was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
