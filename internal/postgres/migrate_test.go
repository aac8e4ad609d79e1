package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// files is a set's file system: each name with its statements.
func files(pairs ...string) fs.FS {
	set := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		set[pairs[i]] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + pairs[i+1] + ";\n")}
	}
	return set
}

var (
	createLog = []string{"0001_create_log.sql", "CREATE TABLE log (n bigint)"}
	indexLog  = []string{"0002_index_log.sql", "CREATE INDEX log_n ON log (n)"}
)

func logSet(steps ...[]string) postgres.MigrationSet {
	var pairs []string
	for _, step := range steps {
		pairs = append(pairs, step...)
	}
	return postgres.MigrationSet{Name: "log", FS: files(pairs...)}
}

func migrate(t *testing.T, url string, sets ...postgres.MigrationSet) {
	t.Helper()
	if err := postgres.Migrate(context.Background(), url, sets...); err != nil {
		t.Fatal(err)
	}
}

func applied(t *testing.T, pool *pgxpool.Pool, set string) string {
	t.Helper()
	return text(t, pool, "SELECT string_agg(version_id::text, ' ' ORDER BY version_id) FROM atlas.migrations_"+set)
}

func TestSetsAreCountedApartAndAppliedOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	views := postgres.MigrationSet{Name: "views", FS: files("0001_create_views.sql", "CREATE VIEW newest AS SELECT max(n) FROM log")}
	migrate(t, url, logSet(createLog), views)
	migrate(t, url, logSet(createLog, indexLog), views)
	pool := connect(t, url)
	if got := applied(t, pool, "log"); got != "0 1 2" {
		t.Errorf("got versions %s of log, want 0 1 2", got)
	}
	if got := applied(t, pool, "views"); got != "0 1" {
		t.Errorf("got versions %s of views, want 0 1", got)
	}
}

func TestManyNodesMigrateOneEmptyDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	concurrently := postgres.MigrationSet{Name: "index", FS: fstest.MapFS{"0001_index.sql": {Data: []byte(
		"-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY log_n_again ON log (n);\n")}}}
	failed := make([]error, 4)
	var nodes sync.WaitGroup
	for i := range failed {
		nodes.Go(func() {
			failed[i] = postgres.Migrate(context.Background(), url, logSet(createLog, indexLog), concurrently)
		})
	}
	nodes.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	if got := applied(t, connect(t, url), "log"); got != "0 1 2" {
		t.Errorf("got versions %s, want 0 1 2", got)
	}
}

// A process that serves behind a pooler in transaction mode must leave no lock behind in a session that others get.
func TestAnUpToDateDatabaseTakesNoLock(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	migrate(t, url, logSet(createLog))
	other, err := connect(t, url).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release()
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock(x'61746c61736d6967'::bigint)"); err != nil {
		t.Fatal(err)
	}
	migrate(t, url, logSet(createLog))
	waiting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := postgres.Migrate(waiting, url, logSet(createLog, indexLog)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with something to do: got %v, want to wait for the lock", err)
	}
}

// It loses the lock as a pooler does that gives it another session.
func TestAMigrationThatLostItsSessionSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	lost := logSet([]string{"0001_lose.sql", "SELECT pg_advisory_unlock_all()"})
	err := postgres.Migrate(t.Context(), pgtest.NewDatabase(t), lost)
	if err == nil || !strings.Contains(err.Error(), "with the URL of the server itself") {
		t.Errorf("got %v, want to be told to migrate without a pooler", err)
	}
}

func TestOlderBinaryPassesANewerDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	migrate(t, url, logSet(createLog, indexLog))
	migrate(t, url, logSet(createLog))
	if got := applied(t, connect(t, url), "log"); got != "0 1 2" {
		t.Errorf("got versions %s, want 0 1 2", got)
	}
}

func TestFailedMigrationLeavesNothingAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	broken := []string{"0002_break.sql", "CREATE TABLE half (n int); SELECT no_such_column"}
	err := postgres.Migrate(context.Background(), url, logSet(createLog, broken))
	if err == nil || !strings.Contains(err.Error(), "0002_break.sql") {
		t.Fatalf("got %v, want an error naming the file", err)
	}
	pool := connect(t, url)
	if got := text(t, pool, "SELECT coalesce(to_regclass('half')::text, 'none')"); got != "none" {
		t.Errorf("got table %s from a failed migration, want none", got)
	}
	migrate(t, url, logSet(createLog, indexLog))
	if got := applied(t, pool, "log"); got != "0 1 2" {
		t.Errorf("got versions %s, want 0 1 2", got)
	}
}

func TestBadSetsAreRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	for what, set := range map[string]postgres.MigrationSet{
		"gap":       logSet(createLog, []string{"0003_skip.sql", "SELECT 1"}),
		"duplicate": logSet(createLog, []string{"0001_again.sql", "SELECT 1"}),
		"late":      logSet(indexLog),
		"empty":     {Name: "log", FS: fstest.MapFS{}},
		"name":      {Name: "Log; DROP", FS: files(createLog...)},
	} {
		if err := postgres.Migrate(context.Background(), url, set); !errors.Is(err, postgres.ErrMigrations) {
			t.Errorf("%s: got %v, want ErrMigrations", what, err)
		}
	}
}

func TestSetsThatShareANameAreRefused(t *testing.T) {
	t.Parallel()
	err := postgres.Migrate(context.Background(), pgtest.NewDatabase(t), logSet(createLog), logSet(createLog, indexLog))
	if !errors.Is(err, postgres.ErrMigrations) {
		t.Errorf("got %v, want ErrMigrations", err)
	}
}
