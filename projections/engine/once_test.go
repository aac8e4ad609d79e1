package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// kinds is one version of a projection of every kind, all of which keep the positions that they were given.
type kinds struct {
	each  *engine.View[Trace] // by stream
	all   *engine.View[Trace] // by a function, in one row
	twice *engine.View[Trace] // by a function, in two rows: the stream's and one of all
	batch *engine.Batch       // with SQL of its own
}

func newKinds(t *testing.T, l *logtest.Log, version int) kinds {
	t.Helper()
	view := func(name string) *engine.View[Trace] {
		return engine.Define[Trace](name, version, traceTable,
			engine.On(func(row *Trace, e engine.Recorded[events.DocumentArchived]) { trace(row, e.Recorded) }))
	}
	k := kinds{each: view("each"), all: view("all"), twice: view("twice")}
	k.all.KeyedBy(func(*eventstore.Recorded) []Trace { return []Trace{{}} })
	k.twice.KeyedBy(func(r *eventstore.Recorded) []Trace { return []Trace{{ID: r.Stream.ID}, {}} })
	effects := fmt.Sprintf("effects_%d", version)
	k.batch = engine.HandleBatch("batch", version, []events.Event{events.DocumentArchived{}}, func(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
		for _, r := range batch {
			if _, err := tx.Exec(ctx, `INSERT INTO `+effects+` (position) VALUES ($1)`, r.Position); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE `+effects+` (n bigint GENERATED ALWAYS AS IDENTITY, position bigint)`); err != nil {
		t.Fatal(err)
	}
	prepare(t, l.Pool, k.list()...)
	return k
}

func (k kinds) list() []engine.Projection {
	return []engine.Projection{k.each, k.all, k.twice, k.batch}
}

// require holds that each of them was given what was written: every event once, and in order.
func (k kinds) require(t *testing.T, l *logtest.Log, w *written) {
	t.Helper()
	order := w.inOrder()
	whole := map[uuid.UUID][]int64{uuid.Nil: order}
	both := maps.Clone(w.documents)
	maps.Copy(both, whole)
	requireTraced(t, l.Pool, k.each, w.documents)
	requireTraced(t, l.Pool, k.all, whole)
	requireTraced(t, l.Pool, k.twice, both)
	rows, err := l.Pool.Query(t.Context(), fmt.Sprintf(`SELECT position FROM effects_%d ORDER BY n`, k.batch.ID().Version))
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(order, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", k.batch.ID(), diff)
	}
}

// and adds what others have written.
func (w *written) and(others *written) {
	maps.Copy(w.documents, others.documents)
}

// Sixteen writers write throughout, and roll a third of it back.
func TestEveryProjectionSeesEveryEventOnce(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			live := newKinds(t, l, 1)
			w, _ := start(t, l, live.list()...)
			for range nodes - 1 {
				start(t, l.Node(t), live.list()...)
			}
			wrote := writers(t, l, 20)
			if !t.Run("live", func(t *testing.T) {
				await(t, w, wrote.last(), live.list()...)
				live.require(t, l, wrote)
			}) {
				return
			}

			late := newKinds(t, l, 2)
			writing := begin(t, l)
			start(t, l.Node(t), late.list()...)
			wrote.and(<-writing)
			if !t.Run("in catch-up", func(t *testing.T) {
				await(t, w, wrote.last(), append(live.list(), late.list()...)...)
				late.require(t, l, wrote)
				live.require(t, l, wrote)
			}) {
				return
			}

			writing = begin(t, l)
			for _, p := range []engine.Projection{live.each, live.all, live.twice} {
				if _, err := workshop(l.Store, l.Pool, p).InPages(50).Do(t.Context(), engine.KindRebuild, p.ID(), engine.Options{}, nil); err != nil {
					t.Fatal(err)
				}
			}
			wrote.and(<-writing)
			t.Run("in a rebuild", func(t *testing.T) {
				await(t, w, wrote.last(), live.list()...)
				live.require(t, l, wrote)
				generations := tablesOf(t, l.Pool)
				for _, p := range []engine.Projection{live.each, live.all, live.twice} {
					if !slices.Contains(generations, p.ID().String()+"_g2") {
						t.Errorf("%s was not rebuilt: there are %v", p.ID(), generations)
					}
				}
			})
		})
	}
}

// begin lets the writers write beside the test.
func begin(t *testing.T, l *logtest.Log) <-chan *written {
	done := make(chan *written, 1)
	go func() { done <- writers(t, l, 20) }()
	return done
}
