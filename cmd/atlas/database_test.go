package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// database connects to the private server of a data directory.
func database(t testing.TB, dir string) *pgxpool.Pool {
	t.Helper()
	url, err := postgres.Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := postgres.WaitReady(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

// column returns the one column of a query.
func column[T any](t testing.TB, db *pgxpool.Pool, q string, args ...any) []T {
	t.Helper()
	rows, err := db.Query(t.Context(), q, args...)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return all
}

// awaitProjections waits until every projection has come to the end of the log.
func awaitProjections(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	const q = `SELECT count(*) FROM atlas.projections WHERE state = 'live' AND position < (SELECT max(position) FROM atlas.events)`
	watchtest.Eventually(t, patience, "projections come to the end of the log", func() bool { return column[int](t, db, q)[0] == 0 })
}

// projectionNames returns the names that `atlas projections list` shows.
func projectionNames(t *testing.T, settings []string) (names []string) {
	t.Helper()
	o := atlas(t, settings, "projections", "list")
	if o.code != 0 {
		t.Fatalf("projections list: exit %d: %s", o.code, o.stderr)
	}
	_, rows, _ := strings.Cut(o.stdout, "\n") // below the headings
	for line := range strings.Lines(rows) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) == 0 {
		t.Fatal("projections list shows none")
	}
	return names
}

// dump returns every row of every table of a schema as text, in order, by table. Of the read tables it is what their
// readers see.
func dump(t testing.TB, db *pgxpool.Pool, schema string) map[string][]string {
	t.Helper()
	const q = `
		SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = $1 AND schemaname <> 'read'
		UNION ALL SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = $1`
	tables := map[string][]string{}
	for _, table := range column[string](t, db, q, schema) {
		tables[table] = column[string](t, db, fmt.Sprintf(`SELECT t::text FROM %s t ORDER BY 1`, table))
	}
	if len(tables) == 0 {
		t.Fatalf("schema %s has no tables", schema)
	}
	return tables
}
