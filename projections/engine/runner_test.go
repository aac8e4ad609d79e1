package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

func TestANodeGoesOnWhereAnotherWasStopped(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	halfway := make(chan struct{})
	first := traces("each", func(*eventstore.Recorded) {
		if seen.Add(1) == 100 {
			close(halfway)
		}
	})
	l := newLog(t, first)
	_, stop := start(t, l, first)
	done := make(chan *written)
	go func() { done <- writers(t, l, 30) }()
	<-halfway
	stop()
	wrote := <-done
	if statusOf(t, l.Pool, first).Position >= wrote.last() {
		t.Fatal("the first node was not stopped midway")
	}
	second := traces("each", nil)
	w, _ := start(t, l.Node(t), second)
	await(t, w, wrote.last(), second)
	requireTraced(t, l.Pool, second, wrote.documents)
}

// What no key can be parked for: an event whose keys cannot be told, a table that is not there, a batch.
func TestAProjectionThatFailsStopsAloneAndGoesOnAfterwards(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	noRow := func(*eventstore.Recorded) []Trace {
		if broken.Load() {
			panic("no such row")
		}
		return []Trace{{ID: ann}}
	}
	fails := map[string]struct {
		p     engine.Projection
		names string
	}{
		"keys": {traces("failing", nil).KeyedBy(noRow), "(document.created): panic: no such row"},
		"table": {engine.Define[Trace]("failing", 1, traceTable+`;
			CREATE FUNCTION read.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM refused FROM read.nothing; RETURN NULL; END $$;
			CREATE TRIGGER refuse AFTER INSERT ON {table} EXECUTE FUNCTION read.refuse()`,
			engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { trace(row, e.Recorded) })),
			`relation "read.nothing" does not exist`},
		"batch": {engine.HandleBatch("failing", 1, []events.Event{events.DocumentCreated{}}, func(context.Context, pgx.Tx, []*eventstore.Recorded) error {
			if broken.Load() {
				return errors.New("the queue is full")
			}
			return nil
		}), "the queue is full"},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			broken.Store(true)
			other := traces("other", nil)
			l := newLog(t, fail.p, other)
			w, stop := start(t, l, fail.p, other)
			last := mustAppend(t, l.Store, newStream(), created("x"))
			await(t, w, last, other)
			watchtest.Eventually(t, time.Minute, "the error is listed", func() bool { return statusOf(t, l.Pool, fail.p).Error != "" })
			s := statusOf(t, l.Pool, fail.p)
			if s.Position >= last || s.ErrorAt == nil || !strings.Contains(s.Error, fail.names) || !strings.Contains(s.Error, fmt.Sprint(last)) {
				t.Errorf("got %+v, want it below position %d, with an error that names it and says %q", s, last, fail.names)
			}
			if s := statusOf(t, l.Pool, other); s.Error != "" {
				t.Errorf("the other projection has the error %q", s.Error)
			}
			broken.Store(false)
			if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE read.nothing (refused boolean)`); err != nil {
				t.Fatal(err)
			}
			await(t, w, last, fail.p)
			if s := statusOf(t, l.Pool, fail.p); s.Error != "" || s.ErrorAt != nil {
				t.Errorf("after the fault is gone its error is still %q", s.Error)
			}
			stop()
		})
	}
}

type documentPrinted struct {
	Copies int `json:"copies"`
}

// later is the log as a newer binary has it: documents are created in a second shape, and can be printed.
func later(t *testing.T, l *logtest.Log) *eventstore.Store {
	t.Helper()
	same := func(v1 json.RawMessage) (json.RawMessage, error) { return v1, nil }
	types := slices.DeleteFunc(events.Catalog(), func(typ events.Type) bool { return typ.Name == "document.created" })
	types = append(types, events.Define[events.DocumentCreated]("document.created", same), events.Define[documentPrinted]("document.printed"))
	v, err := events.NewVocabulary(types...)
	if err != nil {
		t.Fatal(err)
	}
	return eventstore.New(l.Pool, v, l.Keys)
}

func TestANewerShapeStopsWhoHandlesItUntilANewerNodeTakesIt(t *testing.T) {
	t.Parallel()
	handles := traces("handles", nil)
	ignores := engine.Define[Trace]("ignores", 1, traceTable,
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentArchived]) { trace(row, e.Recorded) }))
	l := newLog(t, handles, ignores)
	w, _ := start(t, l, handles, ignores)
	store, stream := later(t, l), newStream()
	at := mustAppend(t, store, stream, created("new"))
	last := mustAppend(t, store, stream, events.DocumentArchived{})
	await(t, w, last, ignores)
	watchtest.Eventually(t, time.Minute, "the error is listed", func() bool { return statusOf(t, l.Pool, handles).Error != "" })
	s := statusOf(t, l.Pool, handles)
	if want := fmt.Sprintf("event %d (document.created)", at); s.Position >= at || !strings.Contains(s.Error, want) || !strings.Contains(s.Error, events.ErrNewer.Error()) {
		t.Errorf("got %+v, want it below position %d, with an error that names %q", s, at, want)
	}
	node := newerNode(t, l)
	start(t, node, handles, ignores)
	await(t, w, last, handles)
	requireTraced(t, l.Pool, handles, map[uuid.UUID][]int64{stream.ID: {at, last}})
}

func TestAnUnknownTypeDoesNotMatterToWhoDoesNotHandleIt(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, _ := start(t, l, each)
	stream := newStream()
	at := mustAppend(t, l.Store, stream, created("x"))
	last := mustAppend(t, later(t, l), stream, documentPrinted{Copies: 2})
	await(t, w, last, each)
	requireTraced(t, l.Pool, each, map[uuid.UUID][]int64{stream.ID: {at}})
}

func TestAProjectionGoesOnAfterItsConnectionsAreKilled(t *testing.T) {
	t.Parallel()
	each, all := traces("each", nil), whole("all")
	l := newLog(t, each, all)
	node := named(t, l, "runner")
	start(t, node, each, all)
	writing := make(chan *written, 1)
	go func() { writing <- writers(t, l, 40) }()
	killed := 0
	kill := func() {
		const q = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'runner'`
		var n int
		if err := l.Pool.QueryRow(t.Context(), q).Scan(&n); err != nil {
			t.Error(err)
		}
		killed += n
	}
	var wrote *written
	for wrote == nil {
		kill()
		select {
		case wrote = <-writing:
		case <-time.After(100 * time.Millisecond):
		}
	}
	kill()
	last := mustAppend(t, l.Store, newStream(), events.DocumentDeleted{})
	await(t, engine.NewWaiter(l.Pool, quiet), last, each, all)
	if killed == 0 {
		t.Error("nothing was killed")
	}
	requireTraced(t, l.Pool, each, wrote.documents)
	requireTraced(t, l.Pool, all, map[uuid.UUID][]int64{uuid.Nil: wrote.inOrder()})
}

// named returns a node whose connections bear a name.
func named(t *testing.T, l *logtest.Log, name string) *logtest.Log {
	t.Helper()
	u, err := url.Parse(l.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", name)
	u.RawQuery = q.Encode()
	other := *l
	other.URL = u.String()
	return other.Node(t)
}

func TestAFrozenNodeHoldsAProjectionForSecondsAtMost(t *testing.T) {
	t.Parallel()
	limit := make(chan string, 1)
	p := engine.HandleBatch("batch", 1, []events.Event{events.DocumentCreated{}}, func(ctx context.Context, tx pgx.Tx, _ []*eventstore.Recorded) error {
		var s string
		err := tx.QueryRow(ctx, `SHOW idle_in_transaction_session_timeout`).Scan(&s)
		limit <- s
		return err
	})
	l := newLog(t, p)
	start(t, l, p)
	mustAppend(t, l.Store, newStream(), created("x"))
	if got := <-limit; got != "10s" {
		t.Errorf("its transaction may idle for %s, want 10s", got)
	}
}

func TestABatchRunsInTheTransactionOfItsCheckpoint(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	fail.Store(true)
	tried := make(chan struct{}, 100)
	p := engine.HandleBatch("batch", 1, []events.Event{events.DocumentCreated{}}, func(ctx context.Context, tx pgx.Tx, batch []*eventstore.Recorded) error {
		for _, r := range batch {
			if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ($1)`, r.Position); err != nil {
				return err
			}
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		if fail.Load() {
			return errors.New("not now")
		}
		return nil
	})
	l := newLog(t, p)
	if _, err := l.Pool.Exec(t.Context(), `CREATE TABLE effects (position bigint)`); err != nil {
		t.Fatal(err)
	}
	w, _ := start(t, l, p)
	var want []int64
	for range 5 {
		want = append(want, mustAppend(t, l.Store, newStream(), created("x")))
	}
	<-tried
	<-tried
	effects := func() []int64 {
		rows, err := l.Pool.Query(t.Context(), `SELECT position FROM effects ORDER BY position`)
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := effects(); len(got) > 0 {
		t.Errorf("a batch that failed left %v", got)
	}
	fail.Store(false)
	await(t, w, want[4], p)
	if got := effects(); !slices.Equal(got, want) {
		t.Errorf("got the effects of %v, want each of %v once", got, want)
	}
	if err := rebuild(t.Context(), l.Store, l.Pool, p); !errors.Is(err, engine.ErrNotRebuildable) {
		t.Errorf("rebuilding it: got %v, want ErrNotRebuildable", err)
	}
}
