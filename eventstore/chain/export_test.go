package chain

import "time"

// Every makes the sealer seal blocks of up to n events, each at least d after the one before unless it is full.
func (s *Sealer) Every(d time.Duration, n int64) *Sealer {
	s.interval, s.size = d, n
	return s
}
