package eventstore_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// tool runs a program of the server's own version.
func tool(t *testing.T, l *logtest.Log, name string, args ...string) {
	t.Helper()
	var dir string
	if err := l.Pool.QueryRow(t.Context(), `SELECT setting FROM pg_config WHERE name = 'BINDIR'`).Scan(&dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// grow appends events, some of whose positions are burned, and returns the stream of some and the last position.
func grow(t *testing.T, l *logtest.Log) (stream eventstore.Stream, position int64) {
	t.Helper()
	stream = newStream()
	for range 5 {
		burn(t, l)
		mustAppend(t, l, creation(newStream()))
		position = mustAppend(t, l, archive(stream)).Position()
	}
	return stream, position
}

func positions(all []*eventstore.Recorded) (list []int64) {
	for _, r := range all {
		list = append(list, r.Position)
	}
	return list
}

// requireSameLog checks that a copy holds what the log holds, that a checkpoint taken in the log is good in the copy, and
// that the copy goes on from there.
func requireSameLog(t *testing.T, l, copied *logtest.Log, stream eventstore.Stream, checkpoint int64) {
	t.Helper()
	want := follow(t, l.Tail.From(0, eventstore.Filter{}), 10)
	got := follow(t, copied.Tail.From(0, eventstore.Filter{}), 10)
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Position != want[i].Position || got[i].Version != want[i].Version {
			t.Errorf("event %d of the copy is %v at %d, want %v at %d", i, got[i].ID, got[i].Position, want[i].ID, want[i].Position)
		}
		mustEvent(t, got[i])
	}
	o := mustAppend(t, copied, archive(stream))
	if o.Streams[0].Version != 6 || o.Position() <= checkpoint {
		t.Errorf("the copy went on at version %d and position %d, want 6 and beyond %d", o.Streams[0].Version, o.Position(), checkpoint)
	}
	if got := follow(t, copied.Tail.From(checkpoint, eventstore.Filter{}), 1); len(got) != 1 || got[0].Position != o.Position() {
		t.Errorf("after the checkpoint the copy gives %v, want %d alone", positions(got), o.Position())
	}
}

// TestADumpRestoredIntoAYoungerClusterGoesOn restores the log where transaction ids are far behind.
func TestADumpRestoredIntoAYoungerClusterGoesOn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, _ := grow(t, l)
	burn(t, l)
	checkpoint := horizon(t, l)
	dump, server := filepath.Join(t.TempDir(), "dump"), pgtest.StartServer(t)
	tool(t, l, "pg_dump", "--format=custom", "--file="+dump, "--dbname="+l.URL)
	tool(t, l, "pg_restore", "--exit-on-error", "--dbname="+server.URL(), dump)
	requireSameLog(t, l, l.NodeAt(t, server.URL()), stream, checkpoint)
}

// TestALogicalCopyGoesOn copies the tables row by row into a migrated database, and sets the sequence.
func TestALogicalCopyGoesOn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	stream, _ := grow(t, l)
	checkpoint := horizon(t, l)
	url := pgtest.NewDatabase(t, eventstore.Migrations(), sealing.Migrations())
	to, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close(t.Context())
	from, err := l.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Release()
	const tables = `SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'atlas'::regnamespace AND relkind = 'r'`
	rows, err := from.Query(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		copyTable(t, from.Conn(), to, name)
	}
	if _, err := to.Exec(t.Context(), `SELECT setval('atlas.events_position', $1)`, checkpoint); err != nil {
		t.Fatal(err)
	}
	requireSameLog(t, l, l.NodeAt(t, url), stream, checkpoint)
}

// copyTable copies a table unless the migration has filled it.
func copyTable(t *testing.T, from, to *pgx.Conn, name string) {
	t.Helper()
	var filled bool
	if err := to.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM `+name+`)`).Scan(&filled); err != nil {
		t.Fatal(err)
	}
	if filled {
		return
	}
	var data bytes.Buffer
	if _, err := from.PgConn().CopyTo(t.Context(), &data, `COPY `+name+` TO STDOUT`); err != nil {
		t.Fatal(err)
	}
	if _, err := to.PgConn().CopyFrom(t.Context(), &data, `COPY `+name+` FROM STDIN`); err != nil {
		t.Fatal(err)
	}
}
