package engine_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(victimVariable); url != "" {
		runVictim(url)
	}
	pgtest.Main(m)
}

var (
	ann   = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	quiet = slog.New(slog.DiscardHandler)
)

// Trace is the row of test views: the positions of the events that were folded into it, in the order they came.
type Trace struct {
	ID        uuid.UUID `json:"id" row:"key"`
	Positions []int64   `json:"positions"`
}

const traceTable = `CREATE TABLE {table} (id uuid PRIMARY KEY, positions bigint[] NOT NULL)`

func trace(row *Trace, r *eventstore.Recorded) { row.Positions = append(row.Positions, r.Position) }

// traces keeps one row per document; before, if given, is called before each fold.
func traces(name string, before func(*eventstore.Recorded)) *engine.View[Trace] {
	see := func(row *Trace, r *eventstore.Recorded) {
		if before != nil {
			before(r)
		}
		trace(row, r)
	}
	return engine.Define[Trace](name, 1, traceTable,
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { see(row, e.Recorded) }),
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentArchived]) { see(row, e.Recorded) }),
	)
}

// whole keeps the whole log in one row.
func whole(name string) *engine.View[Trace] {
	return traces(name, nil).KeyedBy(func(*eventstore.Recorded) []Trace { return []Trace{{}} })
}

// newLog returns an empty log with the tables of the projections.
func newLog(t *testing.T, projections ...engine.Projection) *logtest.Log {
	t.Helper()
	l := logtest.New(t, engine.Migrations())
	prepare(t, l.Pool, projections...)
	return l
}

func prepare(t *testing.T, pool *pgxpool.Pool, projections ...engine.Projection) {
	t.Helper()
	if err := engine.Prepare(t.Context(), pool, projections); err != nil {
		t.Fatal(err)
	}
}

// start runs the projections on a node until stop is called or the test ends.
func start(t *testing.T, node *logtest.Log, projections ...engine.Projection) (w *engine.Waiter, stop func()) {
	t.Helper()
	w = engine.NewWaiter(node.Pool, quiet)
	runner, err := engine.NewRunner(node.Store, node.Tail, node.Pool, quiet, w, projections)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the runner ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return w, stop
}

// await waits until the projections have come to a position.
func await(t *testing.T, w *engine.Waiter, position int64, projections ...engine.Projection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var ids []engine.ID
	for _, p := range projections {
		ids = append(ids, p.ID())
	}
	if err := w.Wait(ctx, position, ids...); err != nil {
		t.Fatalf("wait for position %d: %v", position, err)
	}
}

// workshop returns a workshop on a node.
func workshop(store *eventstore.Store, pool *pgxpool.Pool, projections ...engine.Projection) *engine.Workshop {
	return engine.NewWorkshop(store, pool, quiet, func() (string, error) { return "test", nil }, projections)
}

// rebuild rebuilds a projection; while another process does, that is what is waited for.
func rebuild(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, p engine.Projection) error {
	_, err := workshop(store, pool, p).Do(ctx, engine.KindRebuild, p.ID(), engine.Options{}, nil)
	return err
}

func newStream() eventstore.Stream {
	return eventstore.NewStream("document", uuid.Must(uuid.NewV7()))
}

func created(title string) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: ann, Title: title, Body: "body", ContentType: "text/plain"}
}

func mustAppend(t *testing.T, s *eventstore.Store, stream eventstore.Stream, written ...events.Event) int64 {
	t.Helper()
	o, err := s.Append(context.Background(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: written})
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

// written is what concurrent writers have committed: positions by document.
type written struct {
	mu        sync.Mutex
	documents map[uuid.UUID][]int64
}

// writers appends to eight documents from sixteen goroutines, each so many times, and rolls a third of it back.
func writers(t *testing.T, l *logtest.Log, times int) *written {
	w := &written{documents: map[uuid.UUID][]int64{}}
	documents := make([]eventstore.Stream, 8)
	for i := range documents {
		documents[i] = newStream()
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range times {
				w.append(t, l, documents[rand.IntN(len(documents))])
			}
		})
	}
	all.Wait()
	for _, positions := range w.documents {
		slices.Sort(positions)
	}
	return w
}

// append archives a document, or begins to and takes it back.
func (w *written) append(t *testing.T, l *logtest.Log, stream eventstore.Stream) {
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	defer tx.Rollback(ctx)
	o, err := l.Store.AppendTx(ctx, tx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
	if err != nil {
		t.Error(err)
		return
	}
	if rand.IntN(3) == 0 {
		return
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
		return
	}
	l.Store.Announce()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.documents[stream.ID] = append(w.documents[stream.ID], o.Position())
}

// inOrder returns all positions.
func (w *written) inOrder() (all []int64) {
	for _, positions := range w.documents {
		all = append(all, positions...)
	}
	slices.Sort(all)
	return all
}

func (w *written) last() int64 { return slices.Max(w.inOrder()) }

// rowsOf returns the rows of a view of traces.
func rowsOf(t *testing.T, pool *pgxpool.Pool, v *engine.View[Trace]) map[uuid.UUID][]int64 {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT id, positions FROM `+v.Table())
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Trace])
	if err != nil {
		t.Fatal(err)
	}
	byID := map[uuid.UUID][]int64{}
	for _, r := range all {
		byID[r.ID] = r.Positions
	}
	return byID
}

// requireTraced holds that the view's rows are what was written: nothing lost, doubled or out of order.
func requireTraced(t *testing.T, pool *pgxpool.Pool, v *engine.View[Trace], want map[uuid.UUID][]int64) {
	t.Helper()
	if diff := cmp.Diff(want, rowsOf(t, pool, v)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", v.ID(), diff)
	}
}

// statusOf returns a projection's line in the list.
func statusOf(t *testing.T, pool *pgxpool.Pool, p engine.Projection) engine.Status {
	t.Helper()
	all, err := engine.List(t.Context(), pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.ID == p.ID() {
			return s
		}
	}
	t.Fatalf("%s is not listed", p.ID())
	return engine.Status{}
}
