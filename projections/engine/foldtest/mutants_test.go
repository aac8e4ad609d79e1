package foldtest

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Note is the row of folds that are not as they should be.
type Note struct {
	ID    uuid.UUID `json:"id" row:"key"`
	Title string    `json:"title"`
	Tags  []string  `json:"tags"`
	Count int       `json:"count"`
	Free  any       `json:"free"`
}

// notes is a view with a bad fold of creations, and one of revisions.
func notes(create func(*Note, engine.Recorded[events.DocumentCreated]), revise func(*Note, engine.Recorded[events.DocumentRevised])) *engine.View[Note] {
	if create == nil {
		create = func(n *Note, e engine.Recorded[events.DocumentCreated]) { n.Tags = slices.Clone(e.Event.Tags) }
	}
	if revise == nil {
		revise = func(*Note, engine.Recorded[events.DocumentRevised]) {}
	}
	return engine.Define[Note]("notes", 1, "", engine.Create(create), engine.Change(revise))
}

// twoRows makes the view keep two rows for every document.
func twoRows(v *engine.View[Note]) *engine.View[Note] {
	return v.KeyedBy(func(r *eventstore.Recorded) []Note {
		other := r.Stream.ID
		other[0] ^= 0xff
		return []Note{{ID: r.Stream.ID}, {ID: other}}
	})
}

// TestAFoldThatIsNotPureIsRefused breaks folds in the ways in which folds break. What each gives when all is folded at
// once is taken for what is wanted: the kit has to find that another way gives something else.
func TestAFoldThatIsNotPureIsRefused(t *testing.T) {
	t.Parallel()
	type create = engine.Recorded[events.DocumentCreated]
	type revise = engine.Recorded[events.DocumentRevised]
	for name, c := range map[string]struct {
		view func() *engine.View[Note]
		want string
	}{
		"counts in a variable": {func() *engine.View[Note] {
			n := 0
			return notes(func(row *Note, _ create) { n++; row.Count = n }, nil)
		}, "a fold depends on more"},
		"remembers the events it has seen": {func() *engine.View[Note] {
			seen := map[uuid.UUID]bool{}
			return notes(nil, func(row *Note, e revise) {
				if !seen[e.ID] {
					row.Count++
				}
				seen[e.ID] = true
			})
		}, "a fold depends on more"},
		"remembers the row before": {func() *engine.View[Note] {
			var last *Note
			return notes(func(row *Note, _ create) { last = row }, func(row *Note, e revise) { last.Title = e.Event.Title })
		}, "a fold depends on more"},
		"keeps the row's tags": {func() *engine.View[Note] {
			var tags []string
			return notes(func(row *Note, _ create) { tags = nil }, func(row *Note, e revise) {
				tags = append(tags, e.Event.Title)
				row.Tags = tags
			})
		}, "a fold depends on more"},
		"uses one buffer for all rows": {func() *engine.View[Note] {
			var buffer []string
			return notes(func(row *Note, e create) {
				buffer = append(buffer[:0], e.Event.Title)
				row.Tags = buffer
			}, nil)
		}, "a fold depends on more"},
		"reads the clock": {func() *engine.View[Note] {
			return notes(func(row *Note, _ create) { row.Title = time.Now().String() }, nil)
		}, "rows (-want +got)"},
		"asks whether an event is old": {func() *engine.View[Note] {
			return notes(func(row *Note, e create) {
				if time.Since(e.At) > 30*24*time.Hour {
					row.Title = "old"
				}
			}, nil)
		}, "a fold depends on more"},
		"reads the weekday in its keys": {func() *engine.View[Note] {
			return notes(nil, nil).KeyedBy(func(r *eventstore.Recorded) []Note { return []Note{{ID: uuid.UUID{15: byte(time.Now().Weekday())}}} })
		}, "rows (-want +got)"},
		"throws dice": {func() *engine.View[Note] {
			return notes(func(row *Note, _ create) { row.Count = rand.Int() }, nil)
		}, "rows (-want +got)"},
		"goes over a map": {func() *engine.View[Note] {
			return notes(func(row *Note, e create) {
				row.Tags = nil
				for tag := range map[string]bool{"a": true, "b": true, "c": true, "d": true} {
					row.Tags = append(row.Tags, tag)
				}
			}, nil)
		}, "rows (-want +got)"},
		"does otherwise in what is common to all": {func() *engine.View[Note] {
			n := 0
			return notes(nil, nil).Always(func(row *Note, _ *eventstore.Recorded) { n++; row.Count = n })
		}, "a fold depends on more"},
		"names other rows the next time": {func() *engine.View[Note] {
			n := byte(0)
			return notes(nil, nil).KeyedBy(func(r *eventstore.Recorded) []Note { n++; return []Note{{ID: uuid.UUID{15: n}}} })
		}, "a fold depends on more"},
		"takes a number for what it was before it was stored": {func() *engine.View[Note] {
			return notes(func(row *Note, _ create) { row.Free = 1 }, func(row *Note, _ revise) { row.Free = row.Free.(int) + 1 })
		}, "interface conversion"},
		"sorts what the event holds": {func() *engine.View[Note] {
			return notes(func(row *Note, e create) {
				row.Tags = e.Event.Tags
				slices.Sort(row.Tags)
			}, nil)
		}, "a fold changes event 1 (document.created)"},
		"changes later what an event before held": {func() *engine.View[Note] {
			return notes(func(row *Note, e create) { row.Tags = e.Event.Tags }, func(row *Note, e revise) { row.Tags[0] = e.Event.Title })
		}, "a fold changes event 1 (document.created)"},
		"appends to what two rows hold of an event": {func() *engine.View[Note] {
			return twoRows(notes(func(row *Note, e create) { row.Tags = append(e.Event.Tags, fmt.Sprint(row.ID[0])) }, nil))
		}, "a fold appends to a slice of event 1 (document.created)"},
		"panics": {func() *engine.View[Note] {
			return notes(nil, func(*Note, revise) { panic("no such page") })
		}, "event 20 (document.revised): panic: no such page"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tryOut(t, c.view, Of(t, c.view()).
				Given(plan, created(ann, "Plan", "z", "b"), revised(ann, "Plan B", "y"), revised(ann, "Plan C")).
				Given(menu, created(bob, "Menu", "z", "c")).
				Given(plan, revised(ann, "Plan D")))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// tryOut takes what a view gives when all is folded at once for what is wanted, and tries another such view.
func tryOut[R any](t *testing.T, view func() *engine.View[R], c Claim[R]) (err error) {
	t.Helper()
	log, err := newLog(c.log)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(*testing.T) {
		want, failed := view().FoldRows(nil, log.read(len(log.all)))
		if err = failed; err == nil {
			err = newTrial(c.view, log, want).run()
		}
	})
	return err
}

// TestAFoldThatIsPureIsAccepted tries the kit's own way of finding faults on a fold that has none.
func TestAFoldThatIsPureIsAccepted(t *testing.T) {
	t.Parallel()
	c := Of(t, pages()).Given(plan, created(ann, "Plan", "b", "a")).Given(menu, created(bob, "Menu"))
	for range 20 {
		c = c.Given(plan, revised(ann, "Plan", "c")).Given(menu, revised(bob, "Menu", "d"))
	}
	if err := tryOut(t, pages, c.Forgotten(bob).Given(plan, events.DocumentArchived{OwnerID: ann})); err != nil {
		t.Error(err)
	}
}

var seeded = regexp.MustCompile(`in batches of (\[[0-9 ]+\]) \(FOLDTEST_SEED=([0-9]+)\)`)

// TestAFaultOfALongLogNamesTheBatchesAndTheirSeed gives a fold that is right event by event and all at once, but not where
// a batch of one event follows one of more.
func TestAFaultOfALongLogNamesTheBatchesAndTheirSeed(t *testing.T) {
	view := func() *engine.View[Note] {
		var last *Note
		went := false
		return notes(func(row *Note, _ engine.Recorded[events.DocumentCreated]) { last = row },
			func(row *Note, _ engine.Recorded[events.DocumentRevised]) {
				if row.Count++; row != last && went {
					row.Count++
				}
				last, went = row, row == last
			})
	}
	c := Of(t, view()).Given(plan, created(ann, "Plan"))
	for range 30 {
		c = c.Given(plan, revised(ann, "Plan"))
	}
	first := seeded.FindStringSubmatch(fmt.Sprint(tryOut(t, view, c)))
	if first == nil {
		t.Fatalf("got %v, want the batches and their seed", tryOut(t, view, c))
	}
	t.Setenv(seedVariable, first[2])
	if again := seeded.FindStringSubmatch(fmt.Sprint(tryOut(t, view, c))); again == nil || again[1] != first[1] {
		t.Errorf("the seed %s gives %v, want the batches %s", first[2], again, first[1])
	}
}

// TestAViewThatKeepsWhatIsSealedMustSayWhoseItsRowsAre forgets a person whose data a view keeps without knowing.
func TestAViewThatKeepsWhatIsSealedMustSayWhoseItsRowsAre(t *testing.T) {
	t.Parallel()
	titles := func() *engine.View[Note] {
		return notes(func(row *Note, e engine.Recorded[events.DocumentCreated]) { row.Title = e.Event.Title }, nil)
	}
	err := tryOut(t, titles, Of(t, titles()).Given(plan, created(ann, "Plan")).Forgotten(ann))
	if err == nil || !strings.Contains(err.Error(), "with what is sealed gone from event 1 on") {
		t.Errorf("got %v, want to be told that a rebuild gives other rows", err)
	}
}

// TestWhatIsKnownOfAForgottenCallersMachineIsGoneToo has one person act on what is another's.
func TestWhatIsKnownOfAForgottenCallersMachineIsGoneToo(t *testing.T) {
	t.Parallel()
	view := func() *engine.View[Note] {
		return notes(nil, func(row *Note, e engine.Recorded[events.DocumentRevised]) { row.Title = e.Metadata.Client.Address })
	}
	by := eventstore.Metadata{Actor: bob, Client: eventstore.Client{Address: "192.0.2.7"}}
	err := tryOut(t, view, Of(t, view()).Given(plan, created(ann, "Plan")).With(by).Given(plan, revised(ann, "Plan")).Forgotten(bob))
	if err == nil || !strings.Contains(err.Error(), "with what is sealed gone from event 1 on") {
		t.Errorf("got %v, want to be told that a rebuild gives other rows", err)
	}
}
