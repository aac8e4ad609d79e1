package subscription

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// effects counts the effects that handlers had by Once.
type effects struct {
	pool *pgxpool.Pool

	mu  sync.Mutex
	had map[uuid.UUID]int
}

func newEffects(pool *pgxpool.Pool) *effects { return &effects{pool: pool, had: map[uuid.UUID]int{}} }

// once is what a handler with an effect in the database does.
func (f *effects) once(ctx context.Context, group string, event uuid.UUID) error {
	return pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		first, err := Once(ctx, tx, group, event)
		if first {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.had[event]++
		}
		return err
	})
}

// doubled says which effect was had more than once.
func (f *effects) doubled() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for event, n := range maps.All(f.had) {
		if n > 1 {
			return fmt.Errorf("the effect of event %s was had %d times", event, n)
		}
	}
	return nil
}

// noted returns how many effects the database knows.
func noted(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM atlas.subscription_effects`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// mustPrune forgets effects however young they are, two at a time.
func mustPrune(t *testing.T, l *Log) int64 {
	t.Helper()
	n, err := l.pruneEffects(t.Context(), 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// effectsComeAgain has effects of five events that are done, one whose stream is held, one that is parked, and one that a
// process had and did not record before it was killed. Of those that come again none may be had again, and of all none may
// be noted for ever.
func effectsComeAgain(t *testing.T, subscriptions *Log, pool *pgxpool.Pool) error {
	t.Helper()
	l := &logtest.Log{Pool: pool, Store: subscriptions.store, Tail: subscriptions.tail}
	f := newEffects(pool)
	held, parked, cut := newStream(), newStream(), newStream()
	var down atomic.Bool
	down.Store(true)
	handle := func(ctx context.Context, e *eventstore.Recorded) error {
		err := f.once(ctx, "g", e.ID)
		switch {
		case err != nil || !down.Load():
		case e.Stream == held:
			err = errors.New("503")
		case e.Stream == parked:
			err = Permanent(errors.New("404"))
		}
		return err
	}
	o := Options{Retry: Retry{First: 100 * time.Millisecond, Max: 100 * time.Millisecond, Attempts: -1}}
	stop := consume(t, subscriptions, documents("g"), o, handle)
	settled(t, subscriptions, "g", write(t, l, newStream(), 5))
	write(t, l, parked, 1)
	eventually(t, "one is parked", func() bool { return mustShow(t, subscriptions, "g").Parked == 1 })
	last := write(t, l, held, 1)
	eventually(t, "one fails", func() bool {
		s := mustShow(t, subscriptions, "g")
		return s.Failing == 1 && s.Position >= last
	})
	stop()
	write(t, l, cut, 1)
	page, err := l.Store.ReadAll(t.Context(), last, last+100, eventstore.Filter{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.once(t.Context(), "g", page.Events[0].ID); err != nil {
		t.Fatal(err)
	}
	if n := mustPrune(t, subscriptions); n < 5 {
		return fmt.Errorf("of the effects of five events that are done %d were forgotten", n)
	}
	down.Store(false)
	consume(t, subscriptions, documents("g"), o, handle)
	if _, err := subscriptions.Retry(t.Context(), "g", Which{}); err != nil {
		t.Fatal(err)
	}
	settled(t, subscriptions, "g", write(t, l, newStream(), 1))
	eventually(t, "what was parked is done", func() bool { return mustShow(t, subscriptions, "g").Parked == 0 })
	if err := f.doubled(); err != nil {
		return err
	}
	mustPrune(t, subscriptions)
	if n := noted(t, pool); n > 0 {
		return fmt.Errorf("%d effects are noted for ever", n)
	}
	return nil
}

// effectsOfQueue has the effect of a message that is leased and not answered.
func effectsOfQueue(t *testing.T, subscriptions *Log, pool *pgxpool.Pool) error {
	t.Helper()
	l := &logtest.Log{Pool: pool, Store: subscriptions.store, Tail: subscriptions.tail}
	if _, err := subscriptions.CreateQueue(t.Context(), Queue{Definition: documents("q"), Owner: uuid.New()}); err != nil {
		t.Fatal(err)
	}
	f := newEffects(pool)
	write(t, l, newStream(), 1)
	m := lease(t, subscriptions, 1)[0]
	if err := f.once(t.Context(), "q", m.Event.ID); err != nil {
		t.Fatal(err)
	}
	mustPrune(t, subscriptions)
	if err := f.once(t.Context(), "q", m.Event.ID); err != nil {
		t.Fatal(err)
	}
	return f.doubled()
}

func TestAnEffectIsForgottenOnceItsEventCannotComeAgain(t *testing.T) {
	t.Parallel()
	for what, scenario := range map[string]func(*testing.T, *Log, *pgxpool.Pool) error{
		"held, parked, cut off": effectsComeAgain, "leased": effectsOfQueue,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l, subscriptions := newLog(t)
			if err := scenario(t, subscriptions, l.Pool); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestYoungEffectsAreKept has one that is done, for handlers of processes that were stopped in its midst.
func TestYoungEffectsAreKept(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	f := newEffects(l.Pool)
	consume(t, subscriptions, documents("g"), Options{}, func(ctx context.Context, e *eventstore.Recorded) error {
		return f.once(ctx, "g", e.ID)
	})
	settled(t, subscriptions, "g", write(t, l, newStream(), 1))
	if n, err := subscriptions.pruneEffects(t.Context(), effectsKept, effectsBatch); err != nil || n != 0 || noted(t, l.Pool) != 1 {
		t.Errorf("%d effects were forgotten, %v; want none so soon", n, err)
	}
	if mustPrune(t, subscriptions) != 1 {
		t.Error("the effect is not forgotten later")
	}
}

// TestReplaysHaveNoEffectByOnce resets a worker that takes part in replays, when its effects are noted and when they are not
// any more.
func TestReplaysHaveNoEffectByOnce(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	f := newEffects(l.Pool)
	var came journal
	consume(t, subscriptions, documents("g"), Options{Replays: true}, func(ctx context.Context, e *eventstore.Recorded) error {
		came.note(e)
		return f.once(ctx, "g", e.ID)
	})
	last := write(t, l, newStream(), 3)
	settled(t, subscriptions, "g", last)
	for round := range 2 {
		if err := subscriptions.Reset(t.Context(), "g", Beginning(), false); err != nil {
			t.Fatal(err)
		}
		settled(t, subscriptions, "g", last)
		if got, want := came.count(), 3*(round+2); got != want {
			t.Fatalf("after %d resets %d messages came, want %d", round+1, got, want)
		}
		mustPrune(t, subscriptions)
	}
	if err := f.doubled(); err != nil {
		t.Error(err)
	}
}
