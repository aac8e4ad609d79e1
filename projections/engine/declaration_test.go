package engine_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

type unkeyed struct {
	ID uuid.UUID `json:"id"`
}

type withBytes struct {
	ID   uuid.UUID `json:"id" row:"key"`
	Hash []byte    `json:"hash"`
}

type digest []byte

type withDigest struct {
	ID   uuid.UUID `json:"id" row:"key"`
	Hash digest    `json:"hash"`
}

type optional struct {
	ID   uuid.UUID `json:"id" row:"key"`
	Name string    `json:"name,omitempty"`
}

type untagged struct {
	ID   uuid.UUID `json:"id" row:"key"`
	Name string
}

type timeKeyed struct {
	At time.Time `json:"at" row:"key"`
}

type composite struct {
	ID   uuid.UUID       `json:"id" row:"key"`
	Name string          `json:"name" row:"key"`
	Free json.RawMessage `json:"free"`
}

const compositeTable = `CREATE TABLE {table} (id uuid, name text, free jsonb, PRIMARY KEY (id, name))`

type undeclared struct{}

// view declares a view that folds nothing into its rows.
func view[R any](name, ddl string, rules ...engine.Rule) *engine.View[R] {
	rules = append(rules, engine.On(func(*R, engine.Recorded[events.DocumentCreated]) {}))
	return engine.Define[R](name, 1, ddl, rules...)
}

func TestADeclarationThatCannotWorkIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	drawn := func(*eventstore.Recorded) []composite { return nil }
	for name, c := range map[string]struct {
		projections []engine.Projection
		want        string
	}{
		"columns differ":       {one(view[Trace]("a", `CREATE TABLE {table} (id uuid PRIMARY KEY, place bigint)`)), "read.a_v1 has the columns [id place], its row struct [id positions]"},
		"other primary key":    {one(view[composite]("b", `CREATE TABLE {table} (id uuid PRIMARY KEY, name text, free jsonb)`).KeyedBy(drawn)), "read.b_v1 has the primary key [id], its row struct [id name]"},
		"bad DDL":              {one(view[Trace]("c", `CREATE TABLE {table} (`)), "create read.c_v1"},
		"two rules":            {one(view[Trace]("d", traceTable, engine.Delete[events.DocumentCreated]())), "events.DocumentCreated has two rules"},
		"a rule for other row": {one(view[Trace]("e", traceTable, engine.On(func(*composite, engine.Recorded[events.DocumentArchived]) {}))), "the rule for events.DocumentArchived folds into engine_test.composite, not engine_test.Trace"},
		"no key":               {one(view[unkeyed]("f", traceTable)), `no field is tagged row:"key"`},
		"bytes":                {one(view[withBytes]("g", traceTable)), "field Hash holds bytes"},
		"bytes by a name":      {one(view[withDigest]("h", traceTable)), "field Hash holds bytes"},
		"an optional field":    {one(view[optional]("i", traceTable)), "field Name needs a json tag that names its column, and nothing more"},
		"no column":            {one(view[untagged]("j", traceTable)), "field Name needs a json tag"},
		"a time as key":        {one(view[timeKeyed]("k", traceTable)), "field At is a time.Time; a key is a UUID, a string, an integer or a boolean"},
		"no key function":      {one(view[composite]("l", compositeTable)), "its key is not just a UUID, so it needs KeyedBy"},
		"no row is made":       {one(engine.Define[Trace]("r", 1, traceTable, engine.Delete[events.DocumentDeleted]())), "it has rules that change or delete rows and none that makes one: use Create or On"},
		"a row of no struct":   {one(view[int]("m", traceTable)), "int is not a struct"},
		"a bad name":           {one(view[Trace]("Documents", traceTable)), `the name "Documents" is not of lower-case letters`},
		"the same twice":       {[]engine.Projection{view[Trace]("n", traceTable), view[Trace]("n", traceTable)}, "projection n_v1 is declared twice"},
		"two faults":           {one(view[withBytes]("o", traceTable, engine.Delete[events.DocumentCreated]())), "two rules"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := engine.Prepare(t.Context(), l.Pool, c.projections)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		p    engine.Projection
		want string
	}{
		"an event nobody declared": {view[Trace]("p", traceTable, engine.Delete[undeclared]()), "engine_test.undeclared is not declared in the catalogue of events"},
		"nothing to do":            {engine.Define[Trace]("q", 1, traceTable), "q_v1 handles no event"},
	} {
		_, err := engine.NewRunner(l.Store, l.Tail, l.Pool, quiet, nil, one(c.p))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func one(p engine.Projection) []engine.Projection { return []engine.Projection{p} }

func TestFourNodesMayPrepareAtOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	batch := engine.HandleBatch("batch", 1, []events.Event{events.DocumentCreated{}}, func(context.Context, pgx.Tx, []*eventstore.Recorded) error { return nil })
	var nodes sync.WaitGroup
	for range 4 {
		pool := l.Node(t).Pool
		nodes.Go(func() {
			all := []engine.Projection{traces("a", nil), traces("b", nil), batch}
			for range 3 {
				if err := engine.Prepare(context.Background(), pool, all); err != nil {
					t.Error(err)
				}
			}
		})
	}
	nodes.Wait()
	all, err := engine.List(t.Context(), l.Pool, 0)
	if err != nil || len(all) != 3 {
		t.Errorf("got %v, %v, want three projections", all, err)
	}
}

func TestPreparingAgainKeepsRowsAndCheckpoint(t *testing.T) {
	t.Parallel()
	p := traces("each", nil)
	l := newLog(t, p)
	w, stop := start(t, l, p)
	stream := newStream()
	at := mustAppend(t, l.Store, stream, created("x"))
	await(t, w, at, p)
	stop()
	before := statusOf(t, l.Pool, p)
	prepare(t, l.Pool, p)
	requireTraced(t, l.Pool, p, map[uuid.UUID][]int64{stream.ID: {at}})
	if got := statusOf(t, l.Pool, p); got.Position != before.Position {
		t.Errorf("the checkpoint went from %d to %d", before.Position, got.Position)
	}
}
