package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// poisoned is a view of traces that fails at documents of the title "poison" while broken, in one way or another.
func poisoned(way string, broken *atomic.Bool) (v *engine.View[Trace], says string) {
	ddl := `CREATE TABLE {table} (id uuid PRIMARY KEY, positions bigint[] NOT NULL, CONSTRAINT sane CHECK (positions[1] > 0))`
	says = map[string]string{"fold": "panic: cannot take it", "row": `violates check constraint "sane"`}[way]
	return engine.Define[Trace]("poisoned", 1, ddl,
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) {
			trace(row, e.Recorded)
			if e.Event.Title != "poison" || !broken.Load() {
				return
			}
			row.Positions[0] = -1
			if way == "fold" {
				panic("cannot take it")
			}
		}),
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentArchived]) { trace(row, e.Recorded) }),
	), says
}

func parkedOf(t *testing.T, l *logtest.Log, p engine.Projection) []engine.Parked {
	t.Helper()
	all, err := engine.ListParked(t.Context(), l.Pool, p.ID(), "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func keyOf(s eventstore.Stream) string { return fmt.Sprintf(`{"id":"%s"}`, s.ID) }

func retry(t *testing.T, l *logtest.Log, p engine.Projection, which engine.Choice) engine.Retried {
	t.Helper()
	done, err := engine.Retry(t.Context(), l.Store, l.Pool, p, which)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// The poison comes first, in the middle of what is folded at once, or after the row was made; and each time once in a
// batch of its own and once with all the others.
func TestAPoisonEventParksItsKeyInOrderAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"fold", "row"} {
		for _, live := range []bool{true, false} {
			t.Run(fmt.Sprint(way, " live ", live), func(t *testing.T) {
				t.Parallel()
				var broken atomic.Bool
				broken.Store(true)
				v, says := poisoned(way, &broken)
				l := newLog(t, v)
				var w *engine.Waiter
				if live {
					w, _ = start(t, l, v)
				}
				want := map[uuid.UUID][]int64{}
				write := func(s eventstore.Stream, e events.Event) int64 {
					at := mustAppend(t, l.Store, s, e)
					if live {
						await(t, w, at, v)
					}
					want[s.ID] = append(want[s.ID], at)
					return at
				}
				before, bad, after := newStream(), newStream(), newStream()
				write(before, created("x"))
				write(bad, events.DocumentArchived{}) // so there is a row to be kept as it was
				kept := slices.Clone(want[bad.ID])
				failed := write(bad, created("poison"))
				write(after, created("y"))
				write(bad, events.DocumentArchived{})
				write(before, events.DocumentArchived{})
				last := write(bad, created("poison"))
				if !live {
					w, _ = start(t, l, v)
				}
				await(t, w, last, v)
				seen := map[uuid.UUID][]int64{before.ID: want[before.ID], after.ID: want[after.ID], bad.ID: kept}
				requireTraced(t, l.Pool, v, seen)
				parked := parkedOf(t, l, v)
				if len(parked) != 1 {
					t.Fatalf("%d keys are parked, want one: %+v", len(parked), parked)
				}
				k := parked[0]
				if k.Key != keyOf(bad) || k.Position != failed || k.Attempts < 1 || k.Waiting != 3 || k.Subject != ann ||
					!strings.Contains(k.Error, says) || !strings.Contains(k.Error, fmt.Sprint("event ", failed)) || k.Since.IsZero() || k.FailedAt.Before(k.Since) {
					t.Errorf("got %+v, want the key of %s, parked at %d with 3 events and an error that says %q", k, bad, failed, says)
				}
				if s := statusOf(t, l.Pool, v); s.Error != "" || s.Parked != 1 {
					t.Errorf("got %+v, want it to go on with one key parked", s)
				}

				if got := retry(t, l, v, engine.Choice{}); got != (engine.Retried{Failed: 1}) {
					t.Errorf("while it fails a retry gives %+v", got)
				}
				again := parkedOf(t, l, v)[0]
				if again.Attempts <= k.Attempts || !again.Since.Equal(k.Since) || !again.FailedAt.After(k.FailedAt) || again.Waiting != 3 || again.Position != failed {
					t.Errorf("after a second failure it is %+v, first %+v", again, k)
				}
				requireTraced(t, l.Pool, v, seen)

				broken.Store(false)
				if got := retry(t, l, v, engine.Choice{}); got != (engine.Retried{Healed: 1}) {
					t.Errorf("a retry gives %+v, want it healed", got)
				}
				requireTraced(t, l.Pool, v, want)
				last = mustAppend(t, l.Store, bad, created("poison"))
				want[bad.ID] = append(want[bad.ID], last)
				await(t, w, last, v)
				requireTraced(t, l.Pool, v, want)
				if parked := parkedOf(t, l, v); len(parked) != 0 || statusOf(t, l.Pool, v).Parked != 0 {
					t.Errorf("healed, and still parked: %+v", parked)
				}
			})
		}
	}
}

// A retry gets as far as it can: what is folded stays folded, and the next failure is what is told.
func TestARetryGoesAsFarAsItCan(t *testing.T) {
	t.Parallel()
	var bad atomic.Int64 // the position that fails
	v := traces("each", func(r *eventstore.Recorded) {
		if at := bad.Load(); at < 0 || r.Position == at {
			panic("cannot take it")
		}
	})
	l := newLog(t, v)
	w, _ := start(t, l, v)
	bad.Store(-1)
	stream := newStream()
	var want []int64
	for range 600 { // more than is folded at once
		want = append(want, mustAppend(t, l.Store, stream, events.DocumentArchived{}))
	}
	await(t, w, want[599], v)
	bad.Store(want[400])
	if got := retry(t, l, v, engine.Choice{Key: keyOf(stream)}); got.Failed != 1 {
		t.Errorf("got %+v, want it to fail again", got)
	}
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{stream.ID: want[:400]})
	if k := parkedOf(t, l, v)[0]; k.Position != want[400] || k.Waiting != 200 {
		t.Errorf("got %+v, want it to wait at %d with 200 events", k, want[400])
	}
	bad.Store(0)
	if got := retry(t, l, v, engine.Choice{Error: "cannot"}); got.Healed != 1 {
		t.Errorf("got %+v, want it healed", got)
	}
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{stream.ID: want})
}

func TestARetryChoosesByKeyAndByError(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	v := engine.Define[Trace]("each", 1, traceTable, engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) {
		if broken.Load() {
			panic("no " + e.Event.Title)
		}
		trace(row, e.Recorded)
	}))
	l := newLog(t, v)
	w, _ := start(t, l, v)
	first := newStream()
	mustAppend(t, l.Store, first, created("bread"))
	mustAppend(t, l.Store, newStream(), created("bread"))
	await(t, w, mustAppend(t, l.Store, newStream(), created("wine")), v)
	broken.Store(false)
	for _, c := range []struct {
		which engine.Choice
		left  int
	}{{engine.Choice{Error: "no wine"}, 2}, {engine.Choice{Key: keyOf(newStream())}, 2}, {engine.Choice{Key: keyOf(first)}, 1}, {engine.Choice{}, 0}} {
		retry(t, l, v, c.which)
		if got := len(parkedOf(t, l, v)); got != c.left {
			t.Errorf("after the retry of %+v %d keys are parked, want %d", c.which, got, c.left)
		}
	}
}

// An event may touch several rows; the one where it fails is parked.
func TestAnEventOfSeveralRowsParksOnlyThoseWhereItFails(t *testing.T) {
	t.Parallel()
	one, two := newStream().ID, newStream().ID
	both := func(*eventstore.Recorded) []Trace { return []Trace{{ID: one}, {ID: two}, {ID: one}} }
	var broken atomic.Bool
	for _, way := range []string{"fold", "row"} {
		t.Run(way, func(t *testing.T) {
			broken.Store(true)
			v := engine.Define[Trace]("poisoned", 1,
				`CREATE TABLE {table} (id uuid PRIMARY KEY, positions bigint[] NOT NULL, CONSTRAINT sane CHECK (positions[1] > 0))`,
				engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) {
					trace(row, e.Recorded)
					if row.ID == two && broken.Load() {
						row.Positions[0] = -1
						if way == "fold" {
							panic("cannot take it")
						}
					}
				})).KeyedBy(both)
			l := newLog(t, v)
			w, stop := start(t, l, v)
			at := mustAppend(t, l.Store, newStream(), created("x"))
			await(t, w, at, v)
			requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{one: {at}})
			broken.Store(false)
			retry(t, l, v, engine.Choice{})
			requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{one: {at}, two: {at}})
			stop()
		})
	}
}

// When everything fails it is not the events: a thousand keys are set aside, and then the projection stands still.
func TestAProjectionWithTooManyParkedKeysStandsStill(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	v, _ := poisoned("fold", &broken)
	l := newLog(t, v)
	w, _ := start(t, l, v)
	var last int64
	for range 3 {
		var writes []eventstore.Write
		for range 400 {
			writes = append(writes, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("poison")}})
		}
		o, err := l.Store.Append(t.Context(), writes...)
		if err != nil {
			t.Fatal(err)
		}
		last = o.Position()
	}
	watchtest.Eventually(t, time.Minute, "it stands still", func() bool {
		return strings.Contains(statusOf(t, l.Pool, v).Error, "keys are parked, and more would be")
	})
	if n := len(parkedOf(t, l, v)); n > engine.MaxParked {
		t.Errorf("%d keys are parked, want %d at most", n, engine.MaxParked)
	}
	broken.Store(false)
	retry(t, l, v, engine.Choice{})
	await(t, w, last, v)
	if got := len(rowsOf(t, l.Pool, v)); got != 1200 {
		t.Errorf("%d rows in the end, want 1200", got)
	}
}

// Nobody needs to ask: a runner tries again by itself, and a node that takes over does at once.
func TestParkedKeysAreRetriedByThemselves(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	v, _ := poisoned("fold", &broken)
	l := newLog(t, v)
	w, stop := start(t, l, v)
	stream := newStream()
	at := mustAppend(t, l.Store, stream, created("poison"))
	await(t, w, at, v)
	if k := parkedOf(t, l, v)[0]; !k.NextAt.After(k.FailedAt) {
		t.Errorf("the next try is at %s, the failure was at %s", k.NextAt, k.FailedAt)
	}
	if _, err := l.Pool.Exec(t.Context(), `UPDATE atlas.projection_parked SET next_at = clock_timestamp()`); err != nil {
		t.Fatal(err)
	}
	watchtest.Eventually(t, time.Minute, "it is tried again", func() bool { return parkedOf(t, l, v)[0].Attempts >= 2 })
	stop()
	broken.Store(false)
	start(t, l.Node(t), v)
	watchtest.Eventually(t, time.Minute, "it is healed", func() bool { return len(parkedOf(t, l, v)) == 0 })
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{stream.ID: {at}})
}

// What PostgreSQL quotes of a value that it cannot store may be personal.
func TestAParkedKeysErrorQuotesNoValues(t *testing.T) {
	t.Parallel()
	type row struct {
		ID   uuid.UUID `json:"id" row:"key"`
		Born string    `json:"born"`
	}
	v := engine.Define[row]("persons", 1, `CREATE TABLE {table} (id uuid PRIMARY KEY, born date NOT NULL)`,
		engine.On(func(row *row, e engine.Recorded[events.DocumentCreated]) { row.Born = e.Event.Title }))
	l := newLog(t, v)
	w, _ := start(t, l, v)
	await(t, w, mustAppend(t, l.Store, newStream(), created("the secret")), v)
	parked := parkedOf(t, l, v)
	if len(parked) != 1 || strings.Contains(parked[0].Error, "secret") || !strings.Contains(parked[0].Error, "invalid input syntax for type date") {
		t.Errorf("got %+v, want what was wrong without the value", parked)
	}
	if diff := cmp.Diff(int64(1), parked[0].Waiting); diff != "" {
		t.Error(diff)
	}
}
