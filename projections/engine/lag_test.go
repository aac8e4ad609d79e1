package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func lagOf(t *testing.T, l *logtest.Log, p engine.Projection) engine.Lag {
	t.Helper()
	all, err := engine.Lags(t.Context(), l.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, lag := range all {
		if lag.ID == p.ID() {
			return lag
		}
	}
	t.Fatalf("%s is not listed", p.ID())
	return engine.Lag{}
}

func behind(t *testing.T, l *logtest.Log, p engine.Projection) time.Duration {
	t.Helper()
	d, err := engine.Behind(t.Context(), l.Pool, p.ID())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLagIsToldInEventsAndTimeWithItsCause(t *testing.T) {
	t.Parallel()
	blocked := make(chan struct{})
	var slow atomic.Bool
	slow.Store(true)
	v := traces("each", func(*eventstore.Recorded) {
		if slow.Load() {
			<-blocked
		}
	})
	l := newLog(t, v)
	if lag := lagOf(t, l, v); lag.Events != 0 || lag.Behind != 0 || behind(t, l, v) != 0 || lag.Cause != "" || lag.Node != "" {
		t.Errorf("an empty log: got %+v", lag)
	}
	stream := newStream()
	var last int64
	for range 3 {
		last = mustAppend(t, l.Store, stream, events.DocumentArchived{})
	}
	if lag := lagOf(t, l, v); lag.Events != 3 || lag.Behind <= 0 || behind(t, l, v) < lag.Behind || lag.Cause != "no node runs it" {
		t.Errorf("without a node: got %+v", lag)
	}
	w, _ := start(t, l, v)
	watchtest.Eventually(t, time.Minute, "a slow fold is told", func() bool {
		lag := lagOf(t, l, v)
		return strings.HasPrefix(lag.Cause, "a batch has been folded for") && lag.Node != "" && lag.Events == 3
	})
	slow.Store(false)
	close(blocked)
	await(t, w, last, v)
	if lag := lagOf(t, l, v); lag.Events != 0 || lag.Behind != 0 || lag.Cause != "" || lag.Node == "" {
		t.Errorf("caught up: got %+v", lag)
	}

	// Somebody locks the row that the next event changes.
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), `SELECT positions FROM `+v.Table()+` WHERE id = $1 FOR UPDATE`, stream.ID); err != nil {
		t.Fatal(err)
	}
	last = mustAppend(t, l.Store, stream, events.DocumentArchived{})
	want := fmt.Sprintf("waits for session %d, which runs %q", tx.Conn().PgConn().PID(), "SELECT positions FROM "+v.Table()+" WHERE id = $1 FOR UPDATE")
	watchtest.Eventually(t, time.Minute, "who blocks it is told", func() bool { return strings.Contains(lagOf(t, l, v).Cause, want) })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, w, last, v)
}

// What keeps a projection waiting without its session's being seen to wait.
func TestLagTellsWhoKeepsTheLogOrTheCheckpointFromIt(t *testing.T) {
	t.Parallel()
	v := traces("each", nil)
	l := newLog(t, v)
	var said watchtest.Output
	runner, err := engine.NewRunner(l.Store, l.Tail, l.Pool, slog.New(slog.NewTextHandler(&said, nil)), engine.NewWaiter(l.Pool, quiet), []engine.Projection{v})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.WatchEvery(2 * time.Second).Run(ctx) }() // the server ends an open append after ten seconds
	t.Cleanup(func() { cancel(); <-done })
	w := engine.NewWaiter(l.Pool, quiet)
	await(t, w, mustAppend(t, l.Store, newStream(), created("x")), v)

	_, end := begun(t, l, newStream())
	last := mustAppend(t, l.Store, newStream(), created("y"))
	watchtest.Eventually(t, time.Minute, "the append is told", func() bool {
		return strings.HasPrefix(lagOf(t, l, v).Cause, "nobody may read on before an append has ended, open for ")
	})
	watchtest.Eventually(t, time.Minute, "an alarm is raised", func() bool {
		return strings.Contains(said.String(), `msg="projection does not move" projection=each`) && strings.Contains(said.String(), "before an append has ended")
	})
	end(false)
	await(t, w, last, v)

	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	const lock = `SELECT position FROM atlas.projections WHERE name = 'each' FOR UPDATE`
	if _, err := tx.Exec(t.Context(), lock); err != nil {
		t.Fatal(err)
	}
	last = mustAppend(t, l.Store, newStream(), created("z"))
	want := fmt.Sprintf("in session %d, whose last query is %q", tx.Conn().PgConn().PID(), lock)
	watchtest.Eventually(t, time.Minute, "who has the checkpoint is told", func() bool {
		cause := lagOf(t, l, v).Cause
		return strings.HasPrefix(cause, "its checkpoint may be locked by a transaction, open for ") && strings.HasSuffix(cause, want)
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, w, last, v)
}

func TestLagNamesTheFirstParkedKey(t *testing.T) {
	t.Parallel()
	v := traces("each", func(*eventstore.Recorded) { panic("poison") })
	l := newLog(t, v)
	w, _ := start(t, l, v)
	stream := newStream()
	at := mustAppend(t, l.Store, stream, created("x"))
	await(t, w, mustAppend(t, l.Store, newStream(), created("y")), v)
	want := fmt.Sprintf("2 parked keys lack events; the first is %s, since event %d: ", v.Key(Trace{ID: stream.ID}), at)
	if lag := lagOf(t, l, v); !strings.HasPrefix(lag.Cause, want) || !strings.Contains(lag.Cause, "poison") {
		t.Errorf("got the cause %q, want it to begin with %q", lag.Cause, want)
	}
}
