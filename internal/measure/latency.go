package measure

import (
	"math/bits"
	"time"
)

// Latencies counts how long things took, to within three percent. The zero value is empty. It is not safe for concurrent
// use.
type Latencies struct {
	slots [slotsInAll]int64
	count int64
}

const (
	fine       = 32 // slots for each doubling
	slotsInAll = (64 - 5) * fine
)

// Add counts one.
func (l *Latencies) Add(took time.Duration) {
	l.slots[slot(took)]++
	l.count++
}

// Merge adds all that the other has counted.
func (l *Latencies) Merge(other *Latencies) {
	for i, n := range other.slots {
		l.slots[i] += n
	}
	l.count += other.count
}

// Quantile returns the time within which the share q of all was done, from 0 to 1; 0 where nothing was counted.
func (l *Latencies) Quantile(q float64) time.Duration {
	rank := min(int64(q*float64(l.count))+1, l.count)
	for i, seen := 0, int64(0); i < slotsInAll; i++ {
		if seen += l.slots[i]; rank > 0 && seen >= rank {
			return upper(i)
		}
	}
	return 0
}

// slot returns where a time is counted: exactly below 32 ns, and from there by its five highest bits after the first.
func slot(took time.Duration) int {
	n := uint64(max(took, 0))
	if n < fine {
		return int(n)
	}
	shift := bits.Len64(n) - 6
	return shift*fine + int(n>>shift)
}

// upper returns the longest time that is counted in a slot.
func upper(slot int) time.Duration {
	if slot < 2*fine {
		return time.Duration(slot)
	}
	shift := slot/fine - 1
	return time.Duration(uint64(slot-shift*fine+1)<<shift - 1)
}
