package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

const partSize = 33554432

// jump moves the log's end into the next part, as 33 million events would.
func jump(t *testing.T, l *logtest.Log) {
	t.Helper()
	const q = `SELECT setval('atlas.events_position', (last_value / 33554432 + 1) * 33554432) FROM atlas.events_position`
	if _, err := l.Pool.Exec(context.Background(), q); err != nil {
		t.Fatal(err)
	}
}

// threeParts returns a log with a stream in each of three parts, and one that spans the first two.
func threeParts(t *testing.T) (l *logtest.Log, streams []eventstore.Stream, across eventstore.Stream) {
	t.Helper()
	l, across = logtest.New(t), newStream()
	for i := range 3 {
		if i > 0 {
			jump(t, l)
		}
		streams = append(streams, newStream())
		mustAppend(t, l, eventstore.Write{Stream: streams[i], Events: []events.Event{created("one"), events.DocumentArchived{}}})
		if i < 2 {
			mustAppend(t, l, eventstore.Write{Stream: across, Expect: eventstore.AnyVersion, Events: []events.Event{created("across")}})
		}
	}
	return l, streams, across
}

func TestReadingOverADetachedPartIsRefusedByName(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l, streams, across := threeParts(t)
	if err := l.Store.DetachPart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	horizon, err := l.Store.Horizon(ctx)
	if err != nil {
		t.Fatal(err)
	}
	refusals := map[string]error{}
	_, refusals["all"] = l.Store.ReadAll(ctx, 0, horizon, eventstore.Filter{}, 100)
	_, refusals["from within"] = l.Store.ReadAll(ctx, partSize+1, horizon, eventstore.Filter{}, 100)
	_, refusals["only within"] = l.Store.ReadAll(ctx, partSize+1, partSize+100, eventstore.Filter{}, 100)
	_, refusals["a rare type"] = l.Store.ReadAll(ctx, 0, horizon, eventstore.Filter{Types: []string{"no.such"}}, 100)
	_, refusals["stream"] = l.Store.Load(ctx, streams[1], 1)
	_, refusals["stream's end"] = l.Store.Load(ctx, streams[1], 2)
	_, refusals["spanning stream"] = l.Store.Load(ctx, across, 1)
	_, refusals["consumer"] = l.Node(t).Tail.From(0, eventstore.Filter{}).Next(ctx, 10)
	for what, err := range refusals {
		if !errors.Is(err, eventstore.ErrDetached) || !strings.Contains(err.Error(), "events_1") {
			t.Errorf("%s: got %v, want ErrDetached that names events_1", what, err)
		}
	}
	for _, s := range []eventstore.Stream{streams[0], streams[2]} {
		if got := mustLoad(t, l, s); len(got) != 2 {
			t.Errorf("a stream of another part has %d events, want 2", len(got))
		}
	}
	if got, err := l.Store.ReadAll(ctx, 2*partSize, horizon, eventstore.Filter{}, 100); err != nil || len(got.Events) != 2 {
		t.Errorf("the part after: %d events, %v; want 2", len(got.Events), err)
	}
	if got := mustLoad(t, l, newStream()); len(got) != 0 {
		t.Errorf("a stream that never was has %d events", len(got))
	}
	mustAppend(t, l, eventstore.Write{Stream: newStream(), Events: []events.Event{created("while it is away")}})
}

func TestAPartGoesAwayInADumpAndComesBack(t *testing.T) {
	t.Parallel()
	dump, restore := program(t, "pg_dump"), program(t, "pg_restore")
	ctx := context.Background()
	l, streams, across := threeParts(t)
	before := readAll(t, l)
	if err := l.Store.DetachPart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "events_1.dump")
	run(t, dump, "--format=custom", "--table=atlas.events_1", "--file="+file, l.URL)
	exec1(t, l, `DROP TABLE atlas.events_1`)
	if got := partStates(t, l); got != "0:attached 1:elsewhere 2:attached 3:attached" {
		t.Errorf("parts: %s", got)
	}
	if err := l.Store.AttachPart(ctx, 1); err == nil || !strings.Contains(err.Error(), "restore it first") {
		t.Errorf("attach without the table: got %v", err)
	}

	run(t, restore, "--exit-on-error", "--dbname="+l.URL, file)
	if got := partStates(t, l); got != "0:attached 1:detached 2:attached 3:attached" {
		t.Errorf("parts: %s", got)
	}
	if err := l.Store.AttachPart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, readAll(t, l)); diff != "" {
		t.Errorf("the log reads otherwise (-before +after):\n%s", diff)
	}
	if got := mustLoad(t, l, across); len(got) != 2 || len(mustLoad(t, l, streams[1])) != 2 {
		t.Errorf("streams of the part are not whole again")
	}
	if _, err := l.Pool.Exec(ctx, `DELETE FROM atlas.events_1`); err == nil {
		t.Error("what came back can be deleted from")
	}
	var indexes int
	const q = `SELECT count(*) FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid WHERE x.indrelid = 'atlas.events_1'::regclass`
	if err := l.Pool.QueryRow(ctx, q).Scan(&indexes); err != nil || indexes != 3 {
		t.Errorf("%d indexes of what came back belong to the log's (%v), want 3", indexes, err)
	}
}

func TestThePartThatIsWrittenToStays(t *testing.T) {
	t.Parallel()
	l, _, _ := threeParts(t)
	for _, n := range []int64{2, 3} {
		refused(t, l.Store.DetachPart(context.Background(), n), "still written to")
	}
	refused(t, l.Store.AttachPart(context.Background(), 1), "not detached")
}

// TestMistakesWithPartsAreToldInSentences detaches and attaches what cannot be: each is ErrPart, which says why without a
// word of SQL, and leaves the parts as they were.
func TestMistakesWithPartsAreToldInSentences(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l, _, _ := threeParts(t)
	refused(t, l.Store.DetachPart(ctx, 99), "no part of that number")
	refused(t, l.Store.AttachPart(ctx, 99), "no part of that number")
	if err := l.Store.DetachPart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	refused(t, l.Store.DetachPart(ctx, 1), "detached already")
	exec1(t, l, `ALTER TABLE atlas.events_1 RENAME TO kept`)
	refused(t, l.Store.AttachPart(ctx, 1), "restore it first")
	exec1(t, l, `CREATE TABLE atlas.events_1 (position bigint)`)
	refused(t, l.Store.AttachPart(ctx, 1), "not the part that was detached")
	exec1(t, l, `DROP TABLE atlas.events_1`)
	exec1(t, l, `CREATE TABLE atlas.events_1 AS SELECT * FROM atlas.events_0`)
	refused(t, l.Store.AttachPart(ctx, 1), "not the part that was detached")
	exec1(t, l, `DROP TABLE atlas.events_1`)
	exec1(t, l, `ALTER TABLE atlas.kept RENAME TO events_1`)
	if err := l.Store.AttachPart(ctx, 1); err != nil {
		t.Error(err)
	}
}

// refused requires ErrPart with a sentence.
func refused(t *testing.T, err error, sentence string) {
	t.Helper()
	if !errors.Is(err, eventstore.ErrPart) || !strings.Contains(err.Error(), sentence) || strings.Contains(err.Error(), "SQLSTATE") {
		t.Errorf("got %v, want ErrPart with %q", err, sentence)
	}
}

func TestUpkeepMakesPartsAheadOfNeed(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	jump(t, l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- eventstore.NewUpkeep(l.Store, slog.New(slog.DiscardHandler)).Run(ctx) }()
	watchtest.Eventually(t, time.Minute, "parts ahead of need", func() bool {
		return partStates(t, l) == "0:attached 1:attached 2:attached"
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNoCommandIdIsForgottenBeforeThirtyDays writes an id every five days of half a year and expires every day.
func TestNoCommandIdIsForgottenBeforeThirtyDays(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := context.Background()
	start := time.Date(2031, 1, 3, 7, 0, 0, 0, time.UTC)
	insert := func(part int64, at time.Time) {
		t.Helper()
		table := fmt.Sprintf("atlas.commands_%d", part%5)
		if _, err := l.Pool.Exec(ctx, `INSERT INTO `+table+` VALUES (gen_random_uuid(), '', '[]', $1)`, at); err != nil {
			t.Fatal(err)
		}
	}
	const oldest = `SELECT coalesce(min(recorded_at), $1), count(*) FILTER (WHERE recorded_at > $1 - interval '30 days') FROM atlas.commands`
	var written []time.Time
	for day := range 180 {
		now := start.AddDate(0, 0, day)
		if day%5 == 0 {
			written = append(written, now)
			insert(now.Unix()/864000, now)
		}
		if _, err := l.Pool.Exec(ctx, `SELECT atlas.empty_commands($1)`, now); err != nil {
			t.Fatal(err)
		}
		var first time.Time
		var kept int
		if err := l.Pool.QueryRow(ctx, oldest, now).Scan(&first, &kept); err != nil {
			t.Fatal(err)
		}
		if age := now.Sub(first); age > 50*24*time.Hour {
			t.Errorf("day %d: an id of %s is still kept", day, age)
		}
		written = slices.DeleteFunc(written, func(at time.Time) bool { return now.Sub(at) >= 30*24*time.Hour })
		if kept != len(written) {
			t.Errorf("day %d: %d ids of the last thirty days are kept, want %d", day, kept, len(written))
		}
	}
	later := start.AddDate(1, 0, 0)
	for part := range int64(5) {
		exec1(t, l, fmt.Sprintf(`TRUNCATE atlas.commands_%d`, part))
		insert(part, later)
	}
	for day := range 50 { // a clock that ran backwards
		var emptied *int
		now := later.AddDate(0, 0, day-25)
		if err := l.Pool.QueryRow(ctx, `SELECT atlas.empty_commands($1)`, now).Scan(&emptied); err != nil || emptied != nil {
			t.Errorf("ids younger than thirty days were expired: part %v, %v", emptied, err)
		}
	}
}

func TestExpiryGivesWayToAnOpenAppend(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx := context.Background()
	now := time.Now()
	old := fmt.Sprintf(`INSERT INTO atlas.commands_%d VALUES (gen_random_uuid(), '', '[]', now() - interval '45 days')`, (now.Unix()/864000+1)%5)
	exec1(t, l, old)
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	given := eventstore.WithCommand(ctx, uuid.New(), nil) // whose id is looked for in every table
	if _, err := l.Store.AppendTx(given, tx, eventstore.Write{Stream: newStream(), Events: []events.Event{created("open")}}); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if _, err := l.Pool.Exec(ctx, `SELECT atlas.empty_commands($1)`, now); !errors.As(err, &refused) || refused.Code != "55P03" {
		t.Errorf("beside an open append: %v, want that it gives up waiting for the lock", err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	var emptied *int
	if err := l.Pool.QueryRow(ctx, `SELECT atlas.empty_commands($1)`, now).Scan(&emptied); err != nil || emptied == nil {
		t.Errorf("afterwards: part %v, %v; want one emptied", emptied, err)
	}
}

// seen is what identifies an event in a comparison.
type seen struct {
	Position, Version int64
	ID                uuid.UUID
	Event             events.Event
}

func readAll(t *testing.T, l *logtest.Log) (all []seen) {
	t.Helper()
	horizon, err := l.Store.Horizon(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Store.ReadAll(context.Background(), 0, horizon, eventstore.Filter{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Events {
		all = append(all, seen{r.Position, r.Version, r.ID, mustEvent(t, r)})
	}
	return all
}

// partStates says which parts there are and where.
func partStates(t *testing.T, l *logtest.Log) string {
	t.Helper()
	parts, err := l.Store.Parts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, p := range parts {
		state := "attached"
		if !p.Attached {
			state = "detached"
		}
		if !p.Here {
			state = "elsewhere"
		}
		states = append(states, strings.TrimPrefix(p.Name, "events_")+":"+state)
	}
	return strings.Join(states, " ")
}

func exec1(t *testing.T, l *logtest.Log, sql string) {
	t.Helper()
	if _, err := l.Pool.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}

// program finds one of PostgreSQL's client programs.
func program(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if len(found) == 0 {
		t.Skipf("%s is not installed", name)
	}
	return found[len(found)-1]
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}
