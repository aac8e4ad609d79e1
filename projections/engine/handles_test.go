package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// newerNode is a node of a newer release, whose tail runs.
func newerNode(t *testing.T, l *logtest.Log) *logtest.Log {
	t.Helper()
	node := l.Node(t)
	node.Store = later(t, node)
	node.Tail = eventstore.NewTail(node.Store, eventstore.NewWaker(node.Store, quiet), quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Tail.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return node
}

// releases are the projections of two releases that are of one version: the newer one handles a type that the older one
// does not know.
type releases struct {
	view, newerView   *engine.View[Trace]
	batch, newerBatch *engine.Batch
}

func newReleases(t *testing.T, l *logtest.Log) releases {
	t.Helper()
	archived := engine.On(func(row *Trace, e engine.Recorded[events.DocumentArchived]) { trace(row, e.Recorded) })
	printed := engine.On(func(row *Trace, e engine.Recorded[documentPrinted]) { trace(row, e.Recorded) })
	if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE effects (position bigint)`); err != nil {
		t.Fatal(err)
	}
	publish := func(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
		for _, r := range batch {
			if _, err := r.Event(); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ($1)`, r.Position); err != nil {
				return err
			}
		}
		return nil
	}
	return releases{
		view:       engine.Define[Trace]("each", 1, traceTable, archived),
		newerView:  engine.Define[Trace]("each", 1, traceTable, archived, printed),
		batch:      engine.HandleBatch("batch", 1, []events.Event{events.DocumentArchived{}}, publish),
		newerBatch: engine.HandleBatch("batch", 1, []events.Event{events.DocumentArchived{}, documentPrinted{}}, publish),
	}
}

func (r releases) older() []engine.Projection { return []engine.Projection{r.view, r.batch} }
func (r releases) newer() []engine.Projection { return []engine.Projection{r.newerView, r.newerBatch} }

func register(t *testing.T, node *logtest.Log, projections ...engine.Projection) {
	t.Helper()
	if err := engine.Register(t.Context(), node.Store, node.Pool, projections); err != nil {
		t.Fatal(err)
	}
}

// requireStopped waits until projections stand in front of an event, and say why.
func requireStopped(t *testing.T, l *logtest.Log, at int64, projections ...engine.Projection) {
	t.Helper()
	want := fmt.Sprintf("event %d (document.printed): %s", at, events.ErrUnknown)
	for _, p := range projections {
		watchtest.Eventually(t, time.Minute, p.ID().String()+" stops", func() bool { return strings.Contains(statusOf(t, l.Pool, p).Error, want) })
		if got := statusOf(t, l.Pool, p).Position; got != at-1 {
			t.Errorf("%s stands at %d, want it right before %d", p.ID(), got, at)
		}
		if cause := lagOf(t, l, p).Cause; !strings.Contains(cause, want) {
			t.Errorf("its lag is said to come from %q", cause)
		}
	}
}

func TestATypeThatOnlyANewerBinaryFoldsIsNotSkippedByAnOlderOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	both := newReleases(t, l)
	bystander := traces("bystander", nil)
	prepare(t, l.Pool, append(both.older(), bystander)...)
	w, _ := start(t, l, append(both.older(), bystander)...)
	stream := newStream()
	var want []int64
	note := func(position int64) int64 { want = append(want, position); return position }
	archive := func(s *eventstore.Store) int64 { return note(mustAppend(t, s, stream, events.DocumentArchived{})) }
	await(t, w, archive(l.Store), both.older()...)

	// A process of the newer release that runs no projections.
	node := newerNode(t, l)
	register(t, node, both.newer()...)
	archive(node.Store)
	at := note(mustAppend(t, node.Store, stream, documentPrinted{Copies: 2}))
	last := archive(node.Store)
	await(t, w, last, bystander)
	requireStopped(t, l, at, both.older()...)

	// One that does.
	_, stop := start(t, node, both.newer()...)
	await(t, w, last, both.older()...)
	requireTraced(t, l.Pool, both.view, map[uuid.UUID][]int64{stream.ID: want})
	dropOld := func(wanted ...string) {
		t.Helper()
		done, err := workshop(l.Store, l.Pool, both.older()...).DropOld(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(done.Forgotten, wanted) {
			t.Errorf("forgotten was %q, want %q", done.Forgotten, wanted)
		}
	}
	dropOld() // since somebody runs the newer one

	// Rolled back: the older one goes on, up to the next one it does not know. Then it is told that there is no newer one.
	stop()
	await(t, w, archive(l.Store), both.older()...)
	at = mustAppend(t, node.Store, stream, documentPrinted{Copies: 3})
	last = archive(l.Store)
	requireStopped(t, l, at, both.older()...)
	dropOld("document.printed in batch_v1", "document.printed in each_v1")
	await(t, w, last, both.older()...)
	requireTraced(t, l.Pool, both.view, map[uuid.UUID][]int64{stream.ID: want})
	rows, err := l.Pool.Query(t.Context(), `SELECT position FROM effects ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	effects, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, effects); diff != "" {
		t.Errorf("the batch had the effects (-want +got):\n%s", diff)
	}
}

func TestOnlyABinaryThatKnowsAllThatIsFoldedRebuildsAndVerifies(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	both := newReleases(t, l)
	prepare(t, l.Pool, both.view)
	w, _ := start(t, l, both.view)
	await(t, w, manyEvents(t, l, 20), both.view)
	node := newerNode(t, l)

	// It is heard of while a rebuild is under way.
	shop := workshop(l.Store, l.Pool, both.view)
	_, err := shop.InPages(5).Do(t.Context(), engine.KindRebuild, both.view.ID(), engine.Options{}, func(j engine.Job) {
		if j.Phase == "folding" && j.Done > 0 {
			register(t, node, both.newerView)
		}
	})
	if !errors.Is(err, engine.ErrForeign) {
		t.Errorf("a rebuild that was under way: got %v, want ErrForeign", err)
	}
	at := mustAppend(t, node.Store, newStream(), documentPrinted{Copies: 1})
	for _, kind := range []engine.Kind{engine.KindRebuild, engine.KindRollback, engine.KindVerify} {
		if _, err := shop.Do(t.Context(), kind, both.view.ID(), engine.Options{}, nil); !errors.Is(err, engine.ErrForeign) {
			t.Errorf("%s: got %v, want ErrForeign", kind, err)
		}
	}

	// The older one is at work, and leaves to the newer one what that was asked for.
	newer := workshop(node.Store, node.Pool, both.newerView)
	if _, err := newer.Ask(t.Context(), engine.KindRebuild, both.view.ID(), engine.Options{}); err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int64
	l.Trace(func(_ context.Context, sql string) {
		if strings.Contains(sql, "WHERE served AND ended_at IS NULL") {
			looks.Add(1)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- shop.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-served })
	watchtest.Eventually(t, time.Minute, "the older one looks for work", func() bool { return looks.Load() >= 3 })
	jobs, err := engine.LastJobs(t.Context(), l.Pool)
	if job := jobs[both.view.ID()]; err != nil || job.State != "waiting" {
		t.Errorf("got %+v, %v, want a job that waits", job, err)
	}
	start(t, node, both.newerView)
	if job, err := newer.Do(t.Context(), engine.KindRebuild, both.view.ID(), engine.Options{}, nil); err != nil {
		t.Fatalf("got %+v, %v", job, err)
	}
	await(t, w, at, both.view)
	if got := len(rowsOf(t, l.Pool, both.view)); got != 21 {
		t.Errorf("the table has %d rows, want 20 that were archived and one that was printed", got)
	}
	if found := verify(t, node, both.newerView, engine.Options{Sample: -1}); found.Different > 0 {
		t.Errorf("it differs from a fold of the log: %v", found.Differences)
	}
	// What is folded into the version is known of the new generation too.
	if _, err := shop.Do(t.Context(), engine.KindVerify, both.view.ID(), engine.Options{}, nil); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("verifying after the swap: got %v, want ErrForeign", err)
	}
}

// A process that serves the API alone runs nothing, and reads the tables all the same.
func TestDropOldKeepsWhatAnotherProcessReads(t *testing.T) {
	t.Parallel()
	view := func(version int) *engine.View[Trace] {
		return engine.Define[Trace]("each", version, traceTable, engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { trace(row, e.Recorded) }))
	}
	old, now := view(1), view(2)
	l := newLog(t, old, now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Attend(ctx, l.Store, l.Pool, quiet, []engine.Projection{old}) }()
	attends := func() (n int) {
		if err := l.Pool.QueryRow(t.Context(), `SELECT count(*) FROM atlas.projection_nodes WHERE reads = '{each_v1}'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	watchtest.Eventually(t, time.Minute, "it attends", func() bool { return attends() == 1 })
	shop := workshop(l.Store, l.Pool, now)
	dropped, err := shop.DropOld(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(dropped.Tables) != 0 || len(dropped.Kept) != 1 || !strings.HasPrefix(dropped.Kept[0], "read.each_v1_g1, which ") {
		t.Errorf("got %+v, want version 1 kept, with who reads it", dropped)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if dropped, err = shop.DropOld(t.Context()); err != nil || !slices.Equal(dropped.Tables, []string{"read.each_v1_g1"}) {
		t.Errorf("after it has stopped: got %+v, %v, want version 1 dropped", dropped, err)
	}
}
