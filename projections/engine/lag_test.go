package engine_test

import (
	"fmt"
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
	if lag := lagOf(t, l, v); lag.Events != 0 || lag.Behind != 0 || lag.Cause != "" || lag.Node != "" {
		t.Errorf("an empty log: got %+v", lag)
	}
	stream := newStream()
	var last int64
	for range 3 {
		last = mustAppend(t, l.Store, stream, events.DocumentArchived{})
	}
	if lag := lagOf(t, l, v); lag.Events != 3 || lag.Behind <= 0 || lag.Cause != "no node runs it" {
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
