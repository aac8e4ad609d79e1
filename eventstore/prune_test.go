package eventstore_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/eventstore"
)

func TestAStreamIsLoadedFromThePartsThatMayHoldIt(t *testing.T) {
	t.Parallel()
	l, streams, across := threeParts(t)
	want := map[eventstore.Stream]string{
		streams[0]:  "events_0",
		streams[1]:  "events_1",
		streams[2]:  "events_2",
		across:      "events_0 events_1",
		newStream(): "",
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		store, seen := explained(t, l, mode)
		for stream, parts := range want {
			got, err := store.Load(t.Context(), stream, 1)
			if err != nil || (len(got) == 2) != (parts != "") {
				t.Errorf("%s: %d events (%v)", parts, len(got), err)
			}
			touched := slices.DeleteFunc(slices.Sorted(maps.Keys(seen.relations())), func(name string) bool { return !strings.HasPrefix(name, "events_") })
			if strings.Join(touched, " ") != parts {
				t.Errorf("%s: a stream of %q was looked for in %q", mode, parts, touched)
			}
		}
	}
}
