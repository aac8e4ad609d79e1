package main_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// TestTheCommandsOfReplayRun gives every command of docs/replay.md, in its order, beside a server.
func TestTheCommandsOfReplayRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t)}
	p := serve(t, settings...)
	user := signUp(t, p.url(), "ann@example.com")
	user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	db, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	awaitProjections(t, db)
	ran := 0
	for line := range strings.Lines(string(page)) {
		command, is := strings.CutPrefix(strings.TrimSpace(line), "atlas ")
		if !is || !strings.HasPrefix(line, "atlas ") {
			continue
		}
		ran++
		if o := atlas(t, settings, strings.Fields(command)...); o.code != 0 {
			t.Errorf("atlas %s: exit %d: %s", command, o.code, o.stderr)
		} else if strings.HasPrefix(command, "projections rebuild") && !strings.Contains(o.stdout, "lagged by") {
			t.Errorf("atlas %s says nothing of the live table's lag: %s", command, o.stdout)
		}
	}
	if ran < 8 {
		t.Errorf("the page has %d commands", ran)
	}
	if _, err := db.Exec(t.Context(), `UPDATE read.documents_v1 SET title = 'changed'`); err != nil {
		t.Fatal(err)
	}
	verify := []string{"projections", "verify", "documents"}
	if o := atlas(t, settings, verify...); o.code != 1 || !strings.Contains(o.stdout, "differs in [title]") {
		t.Errorf("a changed row: got %+v, want it named and exit 1", o)
	}
	if o := atlas(t, settings, append(verify, "--repair")...); o.code != 0 || !strings.Contains(o.stdout, "1 repaired") {
		t.Errorf("its repair: got %+v", o)
	}
	atlas(t, settings, verify...).wants(t, 0)
	atlas(t, settings, "projections", "cancel", "documents").wants(t, 2, "nothing is being done")
	atlas(t, settings, "projections", "rebuild", "documents", "--max-load", "0").wants(t, 2, "--max-load")
}

// TestAListTellsTheGenerationAndWhatIsBeingDone keeps a rebuild from swapping its table in, and looks at the list meanwhile.
func TestAListTellsTheGenerationAndWhatIsBeingDone(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t)}
	serve(t, settings...)
	db, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	awaitProjections(t, db)
	listed := func() (generation, line string) {
		for line := range strings.Lines(atlas(t, settings, "projections", "list").stdout) {
			if fields := strings.Fields(line); fields[0] == "documents" {
				return fields[2], line
			}
		}
		return "", ""
	}
	if generation, line := listed(); generation != "1" || strings.Contains(line, "rebuild") {
		t.Errorf("before a rebuild: got %q", line)
	}
	held, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Rollback(t.Context())
	if _, err := held.Exec(t.Context(), `SELECT FROM atlas.projections WHERE name = 'documents' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan outcome, 1)
	go func() { done <- atlas(t, settings, "projections", "rebuild", "documents") }()
	watchtest.Eventually(t, patience, "the list shows a rebuild", func() bool {
		_, line := listed()
		return strings.Contains(line, "  rebuild: ")
	})
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-done).wants(t, 0)
	if generation, line := listed(); generation != "2" || strings.Contains(line, "rebuild") {
		t.Errorf("after it: got %q", line)
	}
}

// Commands that only read leave a database of another release as it is, and say in which way it differs.
func TestCommandsThatOnlyReadMigrateNothing(t *testing.T) {
	t.Parallel()
	settings, db := shared(t)
	reading := []string{"projections list", "projections parked documents", "events read", "events parts", "events heads", "events verify",
		"events export -", "keys status", "keys list", "subscriptions list", "outbox status", "relay status"}
	for _, command := range append(reading, "events tail", "users list", "subjects ledger export") {
		atlas(t, settings, strings.Fields(command)...).wants(t, 1, "older than this release")
	}
	if n := column[int](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname IN ('atlas', 'read')`)[0]; n != 0 {
		t.Errorf("they have made %d schemas", n)
	}
	atlas(t, settings, "migrate").wants(t, 0)
	all := func() {
		t.Helper()
		for _, command := range reading {
			atlas(t, settings, strings.Fields(command)...).wants(t, 0)
		}
	}
	all()
	atlas(t, settings, "users", "list").wants(t, 1, "atlas serve")
	atlas(t, settings, "subjects", "ledger", "export").wants(t, 1, "no such secret yet")
	if n := column[int](t, db, `SELECT count(*) FROM atlas.projections`)[0] + column[int](t, db, `SELECT count(*) FROM atlas.server_secrets`)[0]; n != 0 {
		t.Errorf("they have made %d projections and secrets", n)
	}
	if _, err := db.Exec(t.Context(), `INSERT INTO atlas.migrations_projections (version_id, is_applied) VALUES (1000, true)`); err != nil {
		t.Fatal(err)
	}
	all()
	if o := atlas(t, settings, "projections", "list"); !strings.Contains(o.stderr, "newer than this release (projections: 1000 migrations") {
		t.Errorf("a newer schema: got %+v, want it said", o)
	}
}
