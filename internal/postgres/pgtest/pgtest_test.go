package pgtest_test

import (
	"context"
	"testing"
	"testing/fstest"

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
			exec(t, pool, "INSERT INTO notes (body) VALUES ('mine')")
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
		exec(t, pool, "SELECT 1") // and never closed
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
	exec(t, pool, "CREATE TABLE kept (n int)")
	exec(t, pool, "INSERT INTO kept VALUES (1)")

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

func exec(t *testing.T, pool *pgxpool.Pool, q string) {
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
