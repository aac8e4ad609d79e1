package eventstore

import (
	"testing"
	"time"
)

func TestWhatIsPacedWaitsOnlyAfterABurst(t *testing.T) {
	t.Parallel()
	const gap = 10 * time.Millisecond
	p := pace{gap: gap, burst: 3}
	start := time.Now()
	for _, step := range []struct {
		after, wait time.Duration // since the start
	}{
		{0, -gap}, {0, 0}, {0, gap}, // a burst is done at once
		{gap, gap}, {2*gap + gap/2, gap / 2}, // from then on one in a gap, and a wait that took too long shortens the next
		{time.Hour, -gap}, {time.Hour, 0}, {time.Hour, gap}, // however long the pause was, no more than a burst is due then
	} {
		if got := p.now(start.Add(step.after)); got != step.wait {
			t.Fatalf("done after %s it waits for %s, want %s", step.after, got, step.wait)
		}
	}
}
