package pgtest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func notes() postgres.MigrationSet {
	return postgres.MigrationSet{Name: "notes", FS: fstest.MapFS{
		"0001_create_notes.sql": {Data: []byte("-- +goose Up\nCREATE TABLE notes (body text);\n")},
	}}
}

func TestEveryDatabaseIsMigratedAndAlone(t *testing.T) {
	t.Parallel()
	for range 3 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := pgtest.NewPool(t, notes())
			run(t, pool, "INSERT INTO notes (body) VALUES ('mine')")
			if got := count(t, pool, "SELECT count(*) FROM notes"); got != 1 {
				t.Errorf("got %d notes, want 1", got)
			}
		})
	}
}

func TestDatabaseWithoutSetsIsEmpty(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewPool(t)
	if got := count(t, pool, "SELECT count(*) FROM pg_namespace WHERE nspname = 'atlas'"); got != 0 {
		t.Errorf("got %d schemas named atlas, want 0", got)
	}
}

func TestDatabaseIsDroppedThoughInUse(t *testing.T) {
	t.Parallel()
	var left string
	t.Run("owner", func(t *testing.T) {
		left = pgtest.NewDatabase(t)
		pool, err := postgres.Connect(context.Background(), left)
		if err != nil {
			t.Fatal(err)
		}
		run(t, pool, "SELECT 1") // and never closed
	})
	pool, err := postgres.Connect(context.Background(), left)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(context.Background()); err == nil || postgres.IsConnectionLost(err) {
		t.Errorf("got %v, want a refusal since the database is gone", err)
	}
}

func BenchmarkNewDatabase(b *testing.B) {
	for b.Loop() {
		pgtest.NewDatabase(b, notes())
	}
}

func TestCommittedRowsOutliveAKilledServer(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	pool, err := postgres.Connect(context.Background(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	run(t, pool, "CREATE TABLE kept (n int)")
	run(t, pool, "INSERT INTO kept VALUES (1)")

	server.Kill()
	if err := pool.Ping(context.Background()); !postgres.IsConnectionLost(err) {
		t.Errorf("ping a killed server: got %v, want a lost connection", err)
	}
	server.Restart()
	if err := postgres.WaitReady(context.Background(), pool); err != nil {
		t.Fatal(err)
	}
	if got := count(t, pool, "SELECT count(*) FROM kept"); got != 1 {
		t.Errorf("got %d rows after the kill, want 1", got)
	}
}

// TestVictim is no test: it is the test process that TestServerEndsWithAKilledTestProcess kills.
func TestVictim(t *testing.T) {
	if os.Getenv("PGTEST_VICTIM") == "" {
		t.Skip("run by another test")
	}
	pool := pgtest.NewPool(t)
	fmt.Printf("server %d\n", count(t, pool, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"))
	select {}
}

func TestServerEndsWithAKilledTestProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the kernel does it on Linux only")
	}
	victim := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	victim.Env = append(os.Environ(), "PGTEST_VICTIM=yes", "TMPDIR="+t.TempDir())
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanf(out, "server %d\n", &pid)
	victim.Process.Kill()
	victim.Wait()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for running(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("server %d outlives its test process", pid)
		}
	}
}

// running says whether the process does anything still: one that ended may wait to be reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func run(t *testing.T, pool *pgxpool.Pool, q string) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), q); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, pool *pgxpool.Pool, q string) (n int) {
	t.Helper()
	if err := pool.QueryRow(context.Background(), q).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
