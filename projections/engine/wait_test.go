package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// tracer counts the statements of a pool, those that read the checkpoints apart, and calls after, if given, when one has
// been answered.
type tracer struct {
	queries, others atomic.Int64
	after           func()
}

func (c *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, "projections") {
		c.queries.Add(1)
	} else {
		c.others.Add(1)
	}
	return ctx
}

func (c *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if c.after != nil {
		c.after()
	}
}

// tracedWaiter returns a waiter whose queries are traced.
func tracedWaiter(t *testing.T, l *logtest.Log, c *tracer) *engine.Waiter {
	t.Helper()
	pool, err := postgres.Connect(t.Context(), l.URL, postgres.Tracer(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return engine.NewWaiter(pool, quiet)
}

// moveTo sets a checkpoint, as a runner does.
func moveTo(t *testing.T, pool *pgxpool.Pool, id engine.ID, position int64) {
	t.Helper()
	const q = `UPDATE atlas.projections SET position = $3 WHERE name = $1 AND version = $2`
	if _, err := pool.Exec(t.Context(), q, id.Name, id.Version, position); err != nil {
		t.Fatal(err)
	}
}

func requireNobodyWaits(t *testing.T, w *engine.Waiter) {
	t.Helper()
	watchtest.Eventually(t, time.Minute, "the poll ends", func() bool { waiting, polling := w.Waiting(); return waiting == 0 && !polling })
}

func TestAThousandWaitersShareOnePoll(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	burned := burn(t, l)
	var c tracer
	w := tracedWaiter(t, l, &c)
	answers := make(chan error, 1000)
	started := time.Now()
	for i := range cap(answers) {
		go func() { answers <- w.Wait(t.Context(), []int64{at, burned}[i%2], p.ID()) }()
	}
	watchtest.Eventually(t, time.Minute, "all wait", func() bool { waiting, _ := w.Waiting(); return waiting == cap(answers) })
	// So that some looks ask for what was rolled back, too.
	watchtest.Eventually(t, time.Minute, "they have waited for a while", func() bool { return c.others.Load() >= 10 })
	moveTo(t, l.Pool, p.ID(), at)
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	// One every ten milliseconds, however many wait, and two more at most with each.
	looks, took := c.queries.Load(), time.Since(started)
	if most := int64(took/(10*time.Millisecond)) + 2; looks > most {
		t.Errorf("%d looks in %s, want at most %d", looks, took, most)
	}
	if others := c.others.Load(); others > 2*looks {
		t.Errorf("%d statements beside %d looks, want at most two with each", others, looks)
	}
	requireNobodyWaits(t, w)
}

func TestAWaitIsOverWhenAnotherNodeHasFolded(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	start(t, l.Node(t), p)
	w := engine.NewWaiter(l.Pool, quiet)
	for range 20 {
		at := mustAppend(t, l.Store, newStream(), created("x"))
		await(t, w, at, p)
		if got := statusOf(t, l.Pool, p).Position; got < at {
			t.Fatalf("the wait for %d was over at %d", at, got)
		}
	}
	requireNobodyWaits(t, w)
}

func TestAWaitForSeveralEndsWithTheLast(t *testing.T) {
	t.Parallel()
	first, second := traces("first", nil), traces("second", nil)
	l := newLog(t, first, second)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	moveTo(t, l.Pool, first.ID(), at)
	w := engine.NewWaiter(l.Pool, quiet)
	await(t, w, at, first)
	answer := make(chan error, 1)
	go func() { answer <- w.Wait(t.Context(), at, first.ID(), second.ID()) }()
	watchtest.Eventually(t, time.Minute, "it waits", func() bool { waiting, _ := w.Waiting(); return waiting == 1 })
	select {
	case err := <-answer:
		t.Fatalf("it ended with %v while the second was behind", err)
	default:
	}
	moveTo(t, l.Pool, second.ID(), at)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

func TestAWaitThatTakesTooLongIsLagging(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	w := engine.NewWaiter(l.Pool, quiet)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx, at, p.ID()); !errors.Is(err, engine.ErrLagging) {
		t.Errorf("got %v, want ErrLagging", err)
	}
	requireNobodyWaits(t, w)
}

func TestAPositionBeyondTheEndIsInTheFuture(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	w := engine.NewWaiter(l.Pool, quiet)
	if err := w.Wait(t.Context(), at+1, p.ID()); !errors.Is(err, eventstore.ErrFuture) {
		t.Errorf("got %v, want ErrFuture", err)
	}
	requireNobodyWaits(t, w)
}

// The event is appended, and waited for, between the moment the checkpoints were read and the moment they are told.
func TestAPositionDrawnWhileThePollWasReadingIsNotInTheFuture(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	var once atomic.Bool
	read, told := make(chan struct{}), make(chan struct{})
	w := tracedWaiter(t, l, &tracer{after: func() {
		if once.CompareAndSwap(false, true) {
			close(read)
			<-told
		}
	}})
	answers := make(chan error, 2)
	go func() { answers <- w.Wait(t.Context(), at, p.ID()) }()
	<-read
	next := mustAppend(t, l.Store, newStream(), created("y"))
	go func() { answers <- w.Wait(t.Context(), next, p.ID()) }()
	watchtest.Eventually(t, time.Minute, "both wait", func() bool { waiting, _ := w.Waiting(); return waiting == 2 })
	close(told)
	moveTo(t, l.Pool, p.ID(), next)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("got %v, want the wait to end well", err)
		}
	}
}

func TestWaitersOutlastALostDatabaseAndSpareIt(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	at := mustAppend(t, l.Store, newStream(), created("x"))
	var c tracer
	w := tracedWaiter(t, l, &c)
	rename := func(from, to string) {
		if _, err := l.Pool.Exec(t.Context(), `ALTER TABLE atlas.`+from+` RENAME TO `+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("projections", "elsewhere") // every look fails
	answer := make(chan error, 1)
	go func() { answer <- w.Wait(t.Context(), at, p.ID()) }()
	started := time.Now()
	watchtest.Eventually(t, time.Minute, "it looks again", func() bool { return c.queries.Load() >= 3 })
	if took := time.Since(started); took < 300*time.Millisecond {
		t.Errorf("it looked three times in %s, want pauses", took)
	}
	rename("elsewhere", "projections")
	moveTo(t, l.Pool, p.ID(), at)
	if err := <-answer; err != nil {
		t.Errorf("got %v, want the wait to end well", err)
	}
}
