package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Odd is a row of all that a column may hold.
type Odd struct {
	ID     uuid.UUID       `json:"id" row:"key"`
	Text   string          `json:"text"`
	Maybe  *string         `json:"maybe"`
	List   []string        `json:"list"`
	Many   []int64         `json:"many"`
	Grid   [][]string      `json:"grid"`
	Object map[string]any  `json:"object"`
	Raw    json.RawMessage `json:"raw"`
	Child  []Child         `json:"child"`
	Count  int             `json:"count"`
	Share  float64         `json:"share"`
	Sure   bool            `json:"sure"`
	At     time.Time       `json:"at"`
	Never  *time.Time      `json:"never"`
	Exact  json.Number     `json:"exact"`
	Order  int             `json:"order"`
}

// Child is part of a row.
type Child struct {
	Name string `json:"name"`
}

const oddTable = `CREATE TABLE {table} (
	id uuid PRIMARY KEY, text text NOT NULL, maybe text, list text[], many bigint[], grid text[], object jsonb, raw json,
	child jsonb, count integer NOT NULL, share double precision, sure boolean, at timestamptz, never timestamptz,
	exact numeric, "order" smallint)`

func odd() *engine.View[Odd] {
	fill := func(o *Odd, at time.Time, title, body string, tags []string) {
		o.Text, o.Object, o.At = title, map[string]any{body: title, "n": 1.50, "none": nil}, at.Add(1499*time.Nanosecond)
		o.Count++
		o.Share, o.Sure, o.Order = float64(o.Count)/3, o.Count%2 == 0, o.Count
		o.Exact = json.Number(fmt.Sprintf("12345678901234567890.%d", o.Count))
		o.Many, o.List = append(o.Many, int64(o.Count)), tags
		if len(tags) > 0 {
			o.Maybe, o.Grid = &tags[0], [][]string{tags, tags}
			o.Raw, _ = json.Marshal(tags)
			o.Child = append(o.Child, Child{body})
		}
	}
	return engine.Define[Odd]("odd", 1, oddTable,
		engine.On(func(o *Odd, e engine.Recorded[events.DocumentCreated]) {
			fill(o, e.At, e.Event.Title, e.Event.Body, e.Event.Tags)
		}),
		engine.On(func(o *Odd, e engine.Recorded[events.DocumentRevised]) {
			fill(o, e.At, e.Event.Title, e.Event.Body, e.Event.Tags)
		}),
		engine.Delete[events.DocumentDeleted](),
	)
}

var oddities = []string{"", "plain", "a\tb", "a\nb\r", `\N`, `\.`, `back\slash`, `"quoted"`, "{a,b}", "null", "NULL", "Größe 💡", "<&>", " "}

func oddText() string { return oddities[rand.IntN(len(oddities))] }

// A table is the same whether its rows came one batch at a time as JSON, or in bulk by COPY.
func TestABulkRebuildWritesWhatTheRunnerWrites(t *testing.T) {
	t.Parallel()
	v := odd()
	l := newLog(t, v)
	w, _ := start(t, l, v)
	var last int64
	for range 40 {
		stream, tags := newStream(), []string{}
		for range rand.IntN(4) {
			tags = append(tags, oddText())
		}
		written := []events.Event{events.DocumentCreated{OwnerID: ann, Title: oddText(), Body: oddText(), ContentType: "text/plain", Tags: tags}}
		for range rand.IntN(5) {
			written = append(written, events.DocumentRevised{OwnerID: ann, Title: oddText(), Body: oddText(), ContentType: "text/plain", Tags: tags})
		}
		if rand.IntN(5) == 0 {
			written = append(written, events.DocumentDeleted{OwnerID: ann})
		}
		last = mustAppend(t, l.Store, stream, written...)
	}
	await(t, w, last, v)
	before := textOf(t, l.Pool, v.Table())
	for _, memory := range []int64{1, 0} { // written after each page, and all at once
		_, err := workshop(l.Store, l.Pool, v).InPages(7).Do(t.Context(), engine.KindRebuild, v.ID(), engine.Options{Memory: memory}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, textOf(t, l.Pool, v.Table())); diff != "" || len(before) == 0 {
			t.Fatalf("holding %d bytes (-live +rebuilt):\n%s", memory, diff)
		}
	}
}

// textOf returns the rows of a table as text, in order.
func textOf(t *testing.T, pool *pgxpool.Pool, table string) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT t::text FROM `+table+` t ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// manyEvents appends n documents of two events each, and returns the position of the last.
func manyEvents(t *testing.T, l *logtest.Log, n int) (last int64) {
	t.Helper()
	for range n {
		last = mustAppend(t, l.Store, newStream(), created("x"), events.DocumentArchived{OwnerID: ann})
	}
	return last
}

// stopAt ends a context when a job has come so far.
func stopAt(ctx context.Context, done int64) (context.Context, func(engine.Job)) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, func(j engine.Job) {
		if j.Phase == "folding" && j.Done >= done {
			cancel()
		}
	}
}

func TestAStoppedRebuildGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	last := manyEvents(t, l, 60)
	w, _ := start(t, l, each)
	await(t, w, last, each)
	ctx, watch := stopAt(t.Context(), last/2)
	small := engine.Options{Memory: 1}
	j, err := workshop(l.Store, l.Pool, each).InPages(5).Do(ctx, engine.KindRebuild, each.ID(), small, watch)
	if !errors.Is(err, context.Canceled) || j.Ended() || j.Generation != 2 {
		t.Fatalf("got %+v, %v, want a job that waits", j, err)
	}
	first := j.Events
	j, err = workshop(l.Store, l.Pool, each).InPages(5).Do(t.Context(), engine.KindRebuild, each.ID(), small, nil)
	if err != nil || j.Generation != 2 {
		t.Fatalf("got %+v, %v, want generation 2 to be finished", j, err)
	}
	if j.Events >= 120+first/2 {
		t.Errorf("%d events were folded, %d of them before the stop: it did not go on where it was", j.Events, first)
	}
	requireEqualFold(t, l, each)
}

func TestARebuildIsNotGoneOnWithByAnotherBinary(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	last := manyEvents(t, l, 30)
	ctx, watch := stopAt(t.Context(), last/2)
	if _, err := workshop(l.Store, l.Pool, each).InPages(5).Do(ctx, engine.KindRebuild, each.ID(), engine.Options{Memory: 1}, watch); err == nil {
		t.Fatal("it was not stopped")
	}
	other := engine.NewWorkshop(l.Store, l.Pool, quiet, func() (string, error) { return "another", nil }, []engine.Projection{each})
	j, err := other.Do(t.Context(), engine.KindRebuild, each.ID(), engine.Options{}, nil)
	if err != nil || j.Generation != 2 && j.Generation != 3 {
		t.Fatalf("got %+v, %v", j, err)
	}
	if j.Events < 60+last/4 { // all of them, and those from before the stop
		t.Errorf("only %d events were folded: it went on with what other folds had made", j.Events)
	}
	requireEqualFold(t, l, each)
}

func TestACancelledRebuildLeavesNothing(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	last := manyEvents(t, l, 30)
	w, _ := start(t, l, each)
	await(t, w, last, each)
	before := rowsOf(t, l.Pool, each)
	shop := workshop(l.Store, l.Pool, each).InPages(1)
	cancelled := false
	_, err := shop.Do(t.Context(), engine.KindRebuild, each.ID(), engine.Options{}, func(j engine.Job) {
		if !cancelled && j.Phase == "folding" && j.Done > 0 {
			cancelled = true
			if err := shop.Cancel(t.Context(), each.ID()); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("got %v, want ErrCancelled", err)
	}
	requireTraced(t, l.Pool, each, before)
	if got := tablesOf(t, l.Pool); !cmp.Equal(got, []string{"each_v1_g1"}) {
		t.Errorf("the tables are %v", got)
	}
	if err := shop.Cancel(t.Context(), each.ID()); !errors.Is(err, engine.ErrNoJob) {
		t.Errorf("got %v, want ErrNoJob", err)
	}
}

// tablesOf lists the tables of the read schema.
func tablesOf(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT tablename::text FROM pg_tables WHERE schemaname = 'read' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// requireEqualFold holds that a view's table is what a fold of the whole log makes.
func requireEqualFold(t *testing.T, l *logtest.Log, p engine.Projection) {
	t.Helper()
	if found := verify(t, l, p, engine.Options{Sample: -1}); found.Different > 0 {
		t.Errorf("%s differs from a fold of the log: %v", p.ID(), found.Differences)
	}
}

func verify(t *testing.T, l *logtest.Log, p engine.Projection, o engine.Options) (found engine.Verification) {
	t.Helper()
	j, err := workshop(l.Store, l.Pool, p).Do(t.Context(), engine.KindVerify, p.ID(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j.Result, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestARollbackBringsTheOldGenerationUpToDate(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, _ := start(t, l, each)
	await(t, w, manyEvents(t, l, 5), each)
	shop := workshop(l.Store, l.Pool, each)
	if _, err := shop.Do(t.Context(), engine.KindRollback, each.ID(), engine.Options{}, nil); !errors.Is(err, engine.ErrNoGeneration) {
		t.Errorf("without an old generation: got %v, want ErrNoGeneration", err)
	}
	for want := 1; want <= 2; want++ { // the second takes the first back
		if want == 1 {
			if err := rebuild(t.Context(), l.Store, l.Pool, each); err != nil {
				t.Fatal(err)
			}
		}
		wrote := writers(t, l, 3)
		await(t, w, wrote.last(), each)
		before := rowsOf(t, l.Pool, each)
		j, err := shop.Do(t.Context(), engine.KindRollback, each.ID(), engine.Options{}, nil)
		if err != nil || j.Generation != want {
			t.Fatalf("got %+v, %v, want generation %d", j, err, want)
		}
		requireTraced(t, l.Pool, each, before)
		await(t, w, manyEvents(t, l, 1), each)
		requireEqualFold(t, l, each)
	}
}

// A reader that takes long must hold up neither the other readers nor the projection.
func TestASwapDoesNotQueueReadersBehindALongOne(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, _ := start(t, l, each)
	await(t, w, manyEvents(t, l, 5), each)
	long, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer long.Rollback(context.Background())
	if _, err := long.Exec(t.Context(), `SELECT count(*) FROM `+each.Table()); err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		_, err := workshop(l.Store, l.Pool, each).Do(context.Background(), engine.KindRebuild, each.ID(), engine.Options{}, func(j engine.Job) {
			if strings.HasPrefix(j.Phase, "waiting") {
				select {
				case waits <- struct{}{}:
				default:
				}
			}
		})
		done <- err
	}()
	for range 3 {
		<-waits
		countTraced(t, l, each)
		await(t, w, manyEvents(t, l, 1), each)
	}
	if err := long.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	requireEqualFold(t, l, each)
}

// A statement that was prepared before a swap reads the new generation after it.
func TestPreparedStatementsOutliveASwap(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, _ := start(t, l, each)
	conn, err := l.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Conn().Prepare(t.Context(), "count", `SELECT id, positions FROM `+each.Table()); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		await(t, w, manyEvents(t, l, 1), each)
		rows, err := conn.Query(t.Context(), "count")
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowToStructByName[Trace])
		if err != nil || len(got) != n+1 {
			t.Fatalf("got %d rows, %v, want %d", len(got), err, n+1)
		}
		if err := rebuild(t.Context(), l.Store, l.Pool, each); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPersonForgottenDuringARebuildIsNotInTheNewGeneration(t *testing.T) {
	t.Parallel()
	v := owned()
	l := newLog(t, v)
	w, _ := start(t, l, v)
	var last int64
	for n := range 20 {
		last = mustAppend(t, l.Store, newStream(), createdBy([]uuid.UUID{ann, bob}[n%2], fmt.Sprint(n)))
	}
	await(t, w, last, v)
	shop := workshop(l.Store, l.Pool, v).InPages(1)
	forgotten := false
	for _, memory := range []int64{1, 0} {
		_, err := shop.Do(t.Context(), engine.KindRebuild, v.ID(), engine.Options{Memory: memory}, func(j engine.Job) {
			if !forgotten && j.Phase == "folding" && j.Done > last/2 {
				forgotten = true
				if _, err := l.Keys.Forget(t.Context(), l.Store, ann); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil || !forgotten {
			t.Fatalf("got %v, forgotten: %v", err, forgotten)
		}
		for _, table := range tablesOf(t, l.Pool) {
			var hers, others int
			q := `SELECT count(*) FILTER (WHERE owner_id = $1), count(*) FILTER (WHERE owner_id = $2) FROM read.` + table
			if err := l.Pool.QueryRow(t.Context(), q, ann, bob).Scan(&hers, &others); err != nil {
				t.Fatal(err)
			}
			if others != 10 || hers != 0 && table == "owned_v1_g2" {
				t.Errorf("%s has %d rows of the forgotten and %d of the other", table, hers, others)
			}
		}
		requireEqualFold(t, l, v)
	}
}

func TestARebuildIsStoppedByADetachedPartAndGoesOnWhenItIsBack(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, _ := start(t, l, each)
	await(t, w, manyEvents(t, l, 5), each)
	before := rowsOf(t, l.Pool, each)
	// As far as readers are told: to detach a part in truth takes 33 million events.
	const away = `INSERT INTO atlas.detached_parts (part, first_position, last_position) VALUES (0, 1, 5)`
	if _, err := l.Pool.Exec(t.Context(), away); err != nil {
		t.Fatal(err)
	}
	if err := rebuild(t.Context(), l.Store, l.Pool, each); !errors.Is(err, eventstore.ErrDetached) {
		t.Errorf("got %v, want ErrDetached", err)
	}
	requireTraced(t, l.Pool, each, before)
	if _, err := l.Pool.Exec(t.Context(), `DELETE FROM atlas.detached_parts`); err != nil {
		t.Fatal(err)
	}
	if err := rebuild(t.Context(), l.Store, l.Pool, each); err != nil {
		t.Fatal(err)
	}
	requireTraced(t, l.Pool, each, before)
}

func TestVerifyingNamesTheRowsThatDifferAndHowAndRepairsThem(t *testing.T) {
	t.Parallel()
	v, all := owned(), whole("all")
	l := newLog(t, v, all)
	w, _ := start(t, l, v, all)
	streams := []eventstore.Stream{newStream(), newStream(), newStream(), newStream()}
	var last int64
	for i, s := range streams {
		last = mustAppend(t, l.Store, s, createdBy(ann, fmt.Sprint(i)))
	}
	await(t, w, last, v, all)
	for _, o := range []engine.Options{{Sample: 100}, {Sample: -1}} {
		if found := verify(t, l, v, o); found.Different != 0 || found.Rows != 4 || found.Position < last {
			t.Fatalf("%+v: got %+v, want 4 rows alike", o, found)
		}
		made := uuid.Must(uuid.NewV7())
		for _, q := range []string{
			fmt.Sprintf(`UPDATE read.owned_v1 SET title = 'changed' WHERE id = '%s'`, streams[1].ID),
			fmt.Sprintf(`DELETE FROM read.owned_v1 WHERE id = '%s'`, streams[2].ID),
			fmt.Sprintf(`INSERT INTO read.owned_v1 VALUES ('%s', '%s', 'made up')`, made, ann),
		} {
			if _, err := l.Pool.Exec(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{
			streams[1].ID.String(): "differs [title]", streams[2].ID.String(): "missing []", made.String(): "extra []",
		}
		o.Repair = true
		for _, o := range []engine.Options{{Sample: o.Sample}, o} {
			found := verify(t, l, v, o)
			got := map[string]string{}
			for _, d := range found.Differences {
				var key struct{ ID string }
				if err := json.Unmarshal(d.Key, &key); err != nil {
					t.Fatal(err)
				}
				got[key.ID] = fmt.Sprint(d.What, " ", d.Columns)
			}
			if diff := cmp.Diff(want, got); diff != "" || found.Different != 3 {
				t.Errorf("%+v found %d (-want +got):\n%s", o, found.Different, diff)
			}
			if o.Repair && found.Repaired != 3 {
				t.Errorf("%+v repaired %d", o, found.Repaired)
			}
		}
		if found := verify(t, l, v, engine.Options{Sample: -1}); found.Different != 0 {
			t.Errorf("after the repair by %+v: %+v", o, found.Differences)
		}
		await(t, w, mustAppend(t, l.Store, streams[0], createdBy(ann, "on")), v, all) // and it goes on
	}
	if _, err := l.Pool.Exec(t.Context(), `UPDATE read.all_v1 SET positions = positions[2:]`); err != nil {
		t.Fatal(err)
	}
	if found := verify(t, l, all, engine.Options{}); found.Different != 1 || found.Differences[0].Columns[0] != "positions" {
		t.Errorf("by a key function: got %+v", found)
	}
	if found := verify(t, l, all, engine.Options{Repair: true}); found.Repaired != 1 {
		t.Errorf("by a key function: got %+v", found)
	}
	requireEqualFold(t, l, all)
}

// TestARepairThatWasAskedForIsNotLost has somebody else ask for a verification before the repair was begun, and for a repair
// when a verification has begun.
func TestARepairThatWasAskedForIsNotLost(t *testing.T) {
	t.Parallel()
	v := owned()
	l := newLog(t, v)
	w, _ := start(t, l, v)
	stream := newStream()
	await(t, w, mustAppend(t, l.Store, stream, createdBy(ann, "a")), v)
	spoil := func() {
		t.Helper()
		if _, err := l.Pool.Exec(t.Context(), `UPDATE read.owned_v1 SET title = 'changed'`); err != nil {
			t.Fatal(err)
		}
	}
	shop := workshop(l.Store, l.Pool, v)
	spoil()
	if _, err := shop.Ask(t.Context(), engine.KindVerify, v.ID(), engine.Options{Sample: -1, Repair: true}); err != nil {
		t.Fatal(err)
	}
	j, err := shop.Ask(t.Context(), engine.KindVerify, v.ID(), engine.Options{Sample: 7, MaxLoad: 50})
	if want := (engine.Options{Sample: -1, Repair: true, MaxLoad: 50}); err != nil || j.Options != want {
		t.Errorf("what waits is to be done with %+v, %v, want %+v", j.Options, err, want)
	}
	if found := verify(t, l, v, engine.Options{}); found.Repaired != 1 {
		t.Errorf("got %+v, want a repair", found)
	}

	spoil()
	asked := false
	_, err = shop.Do(t.Context(), engine.KindVerify, v.ID(), engine.Options{Sample: -1}, func(engine.Job) {
		if asked {
			return
		}
		asked = true
		if _, err := shop.Ask(t.Context(), engine.KindVerify, v.ID(), engine.Options{Repair: true}); !errors.Is(err, engine.ErrBusy) {
			t.Errorf("a repair asked of a verification that is under way: %v, want ErrBusy", err)
		}
		if _, err := shop.Ask(t.Context(), engine.KindVerify, v.ID(), engine.Options{Sample: -1, MaxLoad: 90}); err != nil {
			t.Errorf("another load asked of it: %v", err)
		}
	})
	if err != nil || !asked {
		t.Fatal(asked, err)
	}
	if found := verify(t, l, v, engine.Options{Repair: true}); found.Repaired != 1 {
		t.Errorf("when it has ended: %+v, want a repair", found)
	}
}

// Whoever is forgotten beyond where the table is reads as erased already, though the table still has their rows.
func TestVerifyingTakesTheForgottenForNoDifference(t *testing.T) {
	t.Parallel()
	v := owned()
	l := newLog(t, v)
	w, stop := start(t, l, v)
	await(t, w, mustAppend(t, l.Store, newStream(), createdBy(ann, "a")), v)
	stop()
	mustAppend(t, l.Store, newStream(), createdBy(bob, "b"))
	if _, err := l.Keys.Forget(t.Context(), l.Store, ann); err != nil {
		t.Fatal(err)
	}
	for _, o := range []engine.Options{{}, {Sample: -1}} {
		waits := make(chan struct{}, 1000)
		found := make(chan engine.Job, 1)
		go func() {
			j, err := workshop(l.Store, l.Pool, v).Do(context.Background(), engine.KindVerify, v.ID(), o, func(j engine.Job) {
				if strings.HasPrefix(j.Phase, "waiting") {
					waits <- struct{}{}
				}
			})
			if err != nil {
				t.Error(err)
			}
			found <- j
		}()
		if o.Sample == 0 { // the table is behind for the first only
			<-waits
			start(t, l, v)
		}
		var got engine.Verification
		if err := json.Unmarshal((<-found).Result, &got); err != nil || got.Different != 0 {
			t.Errorf("%+v: got %+v, %v", o, got, err)
		}
	}
}

// A generation that stands still is nobody's to fold, so its rows of the forgotten go with those of the live one.
func TestAForgottenPersonIsGoneFromRetiredGenerationsToo(t *testing.T) {
	t.Parallel()
	v := owned()
	l := newLog(t, v)
	w, _ := start(t, l, v)
	mustAppend(t, l.Store, newStream(), createdBy(ann, "a"))
	await(t, w, mustAppend(t, l.Store, newStream(), createdBy(bob, "b")), v)
	if err := rebuild(t.Context(), l.Store, l.Pool, v); err != nil {
		t.Fatal(err)
	}
	e, err := l.Keys.Forget(t.Context(), l.Store, ann)
	if err != nil {
		t.Fatal(err)
	}
	await(t, w, e.Position, v)
	for _, table := range []string{"read.owned_v1_g1", "read.owned_v1_g2"} {
		if got := textOf(t, l.Pool, table); len(got) != 1 || !strings.Contains(got[0], bob.String()) {
			t.Errorf("%s has %v, want bob's row", table, got)
		}
	}
	shop := workshop(l.Store, l.Pool, v)
	if _, err := shop.Do(t.Context(), engine.KindRollback, v.ID(), engine.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	requireEqualFold(t, l, v)
}

func TestDropOldLeavesWhatIsReadAndWhatRuns(t *testing.T) {
	t.Parallel()
	named := func(version int) *engine.View[Trace] {
		return engine.Define[Trace]("each", version, traceTable, engine.On(func(row *Trace, e engine.Recorded[events.DocumentCreated]) { trace(row, e.Recorded) }))
	}
	old, unused, now := named(1), named(2), named(3)
	l := newLog(t, old, unused, now)
	w, stop := start(t, l, old)
	start(t, l.Node(t), now)
	await(t, w, manyEvents(t, l, 2), now)
	if err := rebuild(t.Context(), l.Store, l.Pool, now); err != nil {
		t.Fatal(err)
	}
	shop := workshop(l.Store, l.Pool, now)
	drop := func(want, left []string) {
		t.Helper()
		done, err := shop.DropOld(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, done.Tables); diff != "" {
			t.Errorf("dropped (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(left, tablesOf(t, l.Pool)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	}
	drop([]string{"read.each_v2_g1", "read.each_v3_g1"}, []string{"each_v1_g1", "each_v3_g2"})
	stop()
	drop([]string{"read.each_v1_g1"}, []string{"each_v3_g2"})
	if _, err := shop.Do(t.Context(), engine.KindRollback, now.ID(), engine.Options{}, nil); !errors.Is(err, engine.ErrNoGeneration) {
		t.Errorf("got %v, want ErrNoGeneration", err)
	}
}

// An event that cannot be folded is parked in a new generation as it is in the live one, and everything else is there.
func TestARebuildParksWhatCannotBeFolded(t *testing.T) {
	t.Parallel()
	streams := []eventstore.Stream{newStream(), newStream(), newStream()}
	v := traces("each", func(r *eventstore.Recorded) {
		if r.Stream == streams[1] && r.Version == 2 {
			panic("poison")
		}
	})
	l := newLog(t, v)
	w, _ := start(t, l, v)
	want := map[uuid.UUID][]int64{}
	var last int64
	for n := range 4 {
		for i, s := range streams {
			e := events.Event(events.DocumentArchived{OwnerID: ann})
			if n == 0 {
				e = created("x")
			}
			last = mustAppend(t, l.Store, s, e)
			if i != 1 || n == 0 {
				want[s.ID] = append(want[s.ID], last)
			}
		}
	}
	await(t, w, last, v)
	requireTraced(t, l.Pool, v, want)
	for _, page := range []int{1, 5, 1000} {
		if _, err := workshop(l.Store, l.Pool, v).InPages(page).Do(t.Context(), engine.KindRebuild, v.ID(), engine.Options{}, nil); err != nil {
			t.Fatal(err)
		}
		requireTraced(t, l.Pool, v, want)
		parked, err := engine.ListParked(t.Context(), l.Pool, v.ID(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		newest := parked[len(parked)-1]
		if !strings.Contains(newest.Error, "poison") || newest.Waiting != 3 {
			t.Errorf("in pages of %d: got %+v, want one key with three events", page, newest)
		}
	}
}
