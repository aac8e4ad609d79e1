package watchtest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// look is how long Eventually waits between two looks.
const look = 5 * time.Millisecond

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
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
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
