package engine_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// What a reader counts may only grow: the table is never empty, half full or behind where it was.
func TestReadersNoticeNothingOfARebuild(t *testing.T) {
	t.Parallel()
	each, all := traces("each", nil), whole("all")
	l := newLog(t, each, all)
	w, _ := start(t, l, each, all)
	node := l.Node(t)
	start(t, node, each, all)
	await(t, w, writers(t, l, 5).last(), each, all)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for _, v := range []*engine.View[Trace]{each, all} {
		before := countTraced(t, l, v)
		readers.Go(func() {
			for reads := 0; ctx.Err() == nil || reads < 10; reads++ {
				now := countTraced(t, l, v)
				if now < before {
					t.Errorf("%s: a reader saw %d events after it had seen %d", v.ID(), now, before)
					return
				}
				before = now
			}
		})
	}
	rebuilt := make(chan struct{})
	go func() {
		defer close(rebuilt)
		for range 10 {
			for _, p := range []engine.Projection{each, all} {
				if err := rebuild(context.Background(), node.Store, node.Pool, p); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	wrote := writers(t, l, 20)
	<-rebuilt
	await(t, w, wrote.last(), each, all)
	stop()
	readers.Wait()
	live := rowsOf(t, l.Pool, each)
	for id, want := range wrote.documents {
		if len(live[id]) != len(want) {
			t.Errorf("document %s has %d events, want %d", id, len(live[id]), len(want))
		}
	}
	order := rowsOf(t, l.Pool, all)[uuid.Nil]
	for _, p := range []engine.Projection{each, all} {
		if err := rebuild(t.Context(), l.Store, l.Pool, p); err != nil {
			t.Fatal(err)
		}
	}
	requireTraced(t, l.Pool, each, live)
	requireTraced(t, l.Pool, all, map[uuid.UUID][]int64{uuid.Nil: order})
}

func TestARebuildDoesNotFallBackBehindAnOpenAppend(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, stop := start(t, l, each)
	stream := newStream()
	at := mustAppend(t, l.Store, stream, created("x"))
	await(t, w, at, each)
	stop()
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	// An append that read the sequence before the event was written, and only now takes its fence.
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock_shared(atlas.lock_key('fence', $1))`, at-1); err != nil {
		t.Fatal(err)
	}
	if err := rebuild(t.Context(), l.Store, l.Pool, each); err != nil {
		t.Fatal(err)
	}
	requireTraced(t, l.Pool, each, map[uuid.UUID][]int64{stream.ID: {at}})
	if got := statusOf(t, l.Pool, each).Position; got < at {
		t.Errorf("the checkpoint fell from %d to %d", at, got)
	}
}

func TestARebuildTellsHowFarItHasCome(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	var last int64
	for range engine.BatchSize + 1 {
		last = mustAppend(t, l.Store, newStream(), created("x"))
	}
	var heard []engine.Job
	_, err := workshop(l.Store, l.Pool, each).Do(t.Context(), engine.KindRebuild, each.ID(), engine.Options{}, func(j engine.Job) { heard = append(heard, j) })
	if err != nil {
		t.Fatal(err)
	}
	end := slices.IndexFunc(heard, func(j engine.Job) bool { return j.Phase == "folding" && j.Done == j.Total && j.Done >= last })
	if end < 0 || heard[end].Events < engine.BatchSize+1 || heard[0].Done != 0 {
		t.Errorf("heard %+v, want the folding from 0 to %d", heard, last)
	}
}

// countTraced reads how many events are folded into a view.
func countTraced(t *testing.T, l *logtest.Log, v *engine.View[Trace]) (n int) {
	const q = `SELECT coalesce(sum(cardinality(positions)), 0) FROM `
	if err := l.Pool.QueryRow(context.Background(), q+v.Table()).Scan(&n); err != nil {
		t.Error(err)
	}
	return n
}
