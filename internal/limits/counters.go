package limits

import (
	"maps"
	"sync"
)

// counters counts by name.
type counters struct {
	mu *sync.Mutex
	n  map[string]uint64
}

func newCounters() counters { return counters{mu: &sync.Mutex{}, n: map[string]uint64{}} }

func (c counters) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c counters) read() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
