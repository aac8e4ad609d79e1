package engine_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections/engine"
)

// trips counts the round trips in which a node works on read tables.
type trips struct {
	mu                     sync.Mutex
	begun, committed, more int
}

// count begins anew.
func (c *trips) count(node *logtest.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.committed, c.more = 0, 0, 0
	node.Trace(func(_ context.Context, sql string) {
		if strings.Contains(sql, "read.") || strings.HasPrefix(strings.ToLower(sql), "savepoint") {
			c.note(&c.more)
		}
	})
	node.TraceBatches(func(sql []string) {
		switch all := strings.Join(sql, ";"); {
		case !strings.Contains(all, "read."):
		case strings.HasPrefix(all, "BEGIN"):
			c.note(&c.begun)
		case strings.HasSuffix(all, "COMMIT"):
			c.note(&c.committed)
		default:
			c.note(&c.more)
		}
	})
}

func (c *trips) note(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// TestNothingIsCompiledInATurnThatGoesByIndex has a table refuse rows of a turn that may compile its statements. Without scans those
// that need one seem dear, and compiling them took seconds whenever somebody was forgotten.
func TestNothingIsCompiledInATurnThatGoesByIndex(t *testing.T) {
	t.Parallel()
	const table = `CREATE TABLE {table} (id uuid PRIMARY KEY, positions bigint[] NOT NULL
		CONSTRAINT by_index CHECK (current_setting('enable_seqscan') = 'off')
		CONSTRAINT not_compiled CHECK (current_setting('jit') = 'off'))`
	v := engine.Define[Trace]("settings", 1, table,
		engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { trace(row, e.Recorded) }))
	l := newLog(t, v)
	if _, err := l.Pool.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = on', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	w, _ := start(t, l.Node(t), v)
	stream := newStream()
	position := mustAppend(t, l.Store, stream, created("x"))
	await(t, w, position, v)
	requireTraced(t, l.Pool, v, map[uuid.UUID][]int64{stream.ID: {position}})
}

func TestATurnInWhichNothingGoesWrongTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	bad, good := newStream(), newStream()
	first, second := traces("first", nil), traces("second", func(r *eventstore.Recorded) {
		if r.Stream == bad {
			panic("cannot take it")
		}
	})
	l := newLog(t, first, second)
	node := l.Node(t)
	w, _ := start(t, node, first, second)
	write := func(s eventstore.Stream) { await(t, w, mustAppend(t, l.Store, s, created("x")), first, second) }
	write(good)

	var c trips
	quick := func(when string) {
		t.Helper()
		c.count(node)
		for range 5 {
			write(good)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.begun < 5 || c.begun > 10 || c.committed != c.begun || c.more > 0 {
			t.Errorf("%s: %d trips that begin, %d that commit and %d more, want 5 to 10, as many, and none", when, c.begun, c.committed, c.more)
		}
	}
	quick("where nothing is parked")
	write(bad)
	if got := parkedOf(t, l, second); len(got) != 1 {
		t.Fatalf("%d keys are parked, want 1", len(got))
	}
	quick("where another key is parked")
	c.count(node)
	write(bad)
	if c.more == 0 {
		t.Error("an event of a parked key was not looked at by itself")
	}
}

// The plan is made while the table is empty, and then a scan is the quickest way to find a row.
func TestRowsAreFoundByIndexHoweverTheTableHasGrown(t *testing.T) {
	t.Parallel()
	const there = 20_000
	v := traces("grown", nil)
	l := newLog(t, v)
	node := *l.Node(t)
	pool, err := postgres.Connect(t.Context(), l.URL)
	if err != nil {
		t.Fatal(err)
	}
	node.Pool = pool // of the runner alone
	w, stop := start(t, &node, v)
	s := newStream()
	write := func(times int) {
		for range times {
			await(t, w, mustAppend(t, l.Store, s, created("x")), v)
		}
	}
	write(20)
	table := "read.grown_v1_g1"
	rows := make([][]any, there)
	for i := range rows {
		rows[i] = []any{uuid.New(), []int64{1}}
	}
	if _, err := l.Pool.CopyFrom(t.Context(), pgx.Identifier{"read", "grown_v1_g1"}, []string{"id", "positions"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	write(20)
	stop()
	pool.Close() // whose sessions then tell what they have read
	var scanned, found int64
	const q = `SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relid = $1::text::regclass`
	if err := l.Pool.QueryRow(t.Context(), q, table).Scan(&scanned, &found); err != nil {
		t.Fatal(err)
	}
	if scanned >= there || found < 20 {
		t.Errorf("%d rows were scanned and %d found by index, want none and one for each event", scanned, found)
	}
}
