package subscription

import (
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
)

// TestSlotsOfStreamsNeverChange holds the hash against values that are stored in databases: never refresh them.
func TestSlotsOfStreamsNeverChange(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{
		"document-0197f2f0-7c00-7000-8000-000000000001": 170,
		"document-0197f2f0-7c00-7000-8000-000000000002": 67,
		"user-0197f2f0-7c00-7000-8000-000000000001":     121,
		"user-ffffffff-ffff-ffff-ffff-ffffffffffff":     89,
		"a-00000000-0000-0000-0000-000000000000":        44,
	} {
		stream, err := eventstore.ParseStream(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := SlotOf(stream); got != want {
			t.Errorf("%s is in slot %d, want %d", name, got, want)
		}
	}
}

func TestSlotsShareStreamsEvenly(t *testing.T) {
	t.Parallel()
	const streams = 256 * 100
	var count [Slots]int
	for range streams {
		count[SlotOf(eventstore.NewStream("document", uuid.Must(uuid.NewV7())))]++
	}
	for slot, n := range count {
		if n < 50 || n > 160 { // five deviations
			t.Errorf("slot %d has %d of %d streams, want about 100", slot, n, streams)
		}
	}
}
