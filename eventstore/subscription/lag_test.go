package subscription

import (
	"testing"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
)

// TestTheLagIsThatOfTheFirstEventThatAGroupChose has groups stand at the beginning of a log where a document is made, written
// on and deleted.
func TestTheLagIsThatOfTheFirstEventThatAGroupChose(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	write(t, l, stream, 3)
	deleted(t, l, stream)
	lag := func(name string, chosen eventstore.Filter) time.Duration {
		t.Helper()
		if err := subscriptions.Create(t.Context(), Definition{Name: name, Filter: chosen}); err != nil {
			t.Fatal(err)
		}
		s, err := subscriptions.Show(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return s.LagTime
	}
	types := func(names ...string) eventstore.Filter { return eventstore.Filter{Types: names} }
	end := lag("end", types("document.deleted"))
	all := lag("all", eventstore.Filter{})
	either := lag("either", types("document.deleted", "document.created"))
	category := lag("category", eventstore.Filter{Categories: []string{"document"}})
	if end <= 0 || all <= end || either <= end || category <= end {
		t.Errorf("behind the end %v, all %v, the end and the beginning %v, the category %v; want the first above 0 and the others above it",
			end, all, either, category)
	}
	if restored := lag("restored", types("document.restored")); restored != 0 {
		t.Errorf("a group of what never was is %v behind", restored)
	}
	if users := lag("users", eventstore.Filter{Categories: []string{"user"}}); users != 0 {
		t.Errorf("a group of a category without events is %v behind", users)
	}
}
