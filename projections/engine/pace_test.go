package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/projections/engine"
)

// atACrawl is a rebuild that takes minutes for what takes seconds at full load.
var atACrawl = engine.Options{MaxLoad: 1, Memory: 1}

func TestARebuildIsDoneAsItWasAskedForLast(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"under way", "stopped before"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			each := traces("each", nil)
			l := newLog(t, each)
			manyEvents(t, l, 250)
			shop := workshop(l.Store, l.Pool, each).InPages(1)
			bounded, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			ctx, cancel := context.WithCancel(bounded)
			defer cancel()
			asked := false
			_, err := shop.Do(ctx, engine.KindRebuild, each.ID(), atACrawl, func(j engine.Job) {
				if asked || j.Done == 0 {
					return
				}
				asked = true
				if when == "stopped before" {
					cancel()
				} else if _, err := shop.Ask(ctx, engine.KindRebuild, each.ID(), engine.Options{}); err != nil {
					t.Error(err)
				}
			})
			if when == "stopped before" {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, want it to be stopped", err)
				}
				_, err = shop.Do(bounded, engine.KindRebuild, each.ID(), engine.Options{}, nil)
			}
			if err != nil {
				t.Fatalf("at the load that was asked for last: %v", err)
			}
			requireEqualFold(t, l, each)
		})
	}
}

func TestAJobOfACommandIsServedWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	last := manyEvents(t, l, 20)
	shop := workshop(l.Store, l.Pool, each).InPages(5)
	ctx, watch := stopAt(t.Context(), last/2)
	if j, err := shop.Do(ctx, engine.KindRebuild, each.ID(), engine.Options{}, watch); !errors.Is(err, context.Canceled) || j.Served {
		t.Fatalf("got %+v, %v, want a stopped job of a command", j, err)
	}
	if j, err := shop.Ask(t.Context(), engine.KindRebuild, each.ID(), engine.Options{}); err != nil || !j.Served {
		t.Errorf("got %+v, %v, want a job for any process", j, err)
	}
}

// The rest after a page is long, and the rebuild must hear of the cancel while it rests.
func TestARebuildThatRestsIsCancelled(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	manyEvents(t, l, 250)
	shop := workshop(l.Store, l.Pool, each)
	var rests int64
	_, err := shop.Do(t.Context(), engine.KindRebuild, each.ID(), engine.Options{MaxLoad: 1}, func(j engine.Job) {
		if j.Done > 0 && j.Done == rests {
			if err := shop.Cancel(t.Context(), each.ID()); err != nil && !errors.Is(err, engine.ErrNoJob) {
				t.Error(err)
			}
		}
		rests = j.Done
	})
	if !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("got %v, want ErrCancelled", err)
	}
}

func TestARebuildThatTheLogOutrunsSaysSo(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	const documents = 300 // of two events each: farther than a swap makes up for
	manyEvents(t, l, documents)
	var heard []engine.Job
	passes := 0
	_, err := workshop(l.Store, l.Pool, each).Do(t.Context(), engine.KindRebuild, each.ID(), engine.Options{}, func(j engine.Job) {
		heard = append(heard, j)
		if j.Done > 0 && j.Done == j.Total && passes < 2 { // the end of a pass
			passes++
			manyEvents(t, l, documents+passes)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	outrun := slices.IndexFunc(heard, engine.Job.Outrun)
	if outrun < 0 {
		t.Fatalf("heard %+v, want that the log outran it", heard)
	}
	if left, known := heard[outrun].Left(); known {
		t.Errorf("it has %s left, want that it cannot be told", left)
	}
	if heard[0].Outrun() || heard[len(heard)-1].Outrun() {
		t.Error("the log outran it before it wrote and after it wrote no more")
	}
	requireEqualFold(t, l, each)
}
