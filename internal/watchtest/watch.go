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
