package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// awaitSealed returns when nothing in the log is unsealed.
func awaitSealed(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	const q = `SELECT count(*) FROM atlas.events WHERE position > (SELECT coalesce(max(last_position), 0) FROM atlas.chain_blocks)`
	watchtest.Eventually(t, patience, "everything is sealed", func() bool { return column[int](t, db, q)[0] == 0 })
}

func TestAServerSealsTheLogAndVerifyTellsWhenItWasTamperedWith(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com").must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	db := database(t, dir)
	awaitSealed(t, db)

	o := atlas(t, settings, "events", "heads")
	o.wants(t, 0)
	kept := filepath.Join(dir, "kept.ndjson")
	if err := os.WriteFile(kept, []byte(o.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(dir, "heads.ndjson") // by the server, in development mode
	watchtest.Eventually(t, patience, "heads are written", func() bool { _, err := os.Stat(written); return err == nil })
	for _, heads := range []string{kept, written} {
		if o := atlas(t, settings, "events", "verify", "--heads", heads); o.code != 0 || !strings.Contains(o.stdout, "exported heads held against the chain") {
			t.Errorf("verify --heads %s: got %+v", filepath.Base(heads), o)
		}
	}
	atlas(t, settings, "events", "verify", "--heads", filepath.Join(dir, "none")).wants(t, 2, "none")
	atlas(t, settings, "events", "new-chain").wants(t, 2, "--reason")

	const tamper = `
		SET session_replication_role = replica;
		UPDATE atlas.events SET data = '{}' WHERE type = 'document.created';
		RESET session_replication_role`
	if _, err := db.Exec(t.Context(), tamper); err != nil {
		t.Fatal(err)
	}
	o = atlas(t, settings, "events", "verify")
	stream := column[string](t, db, `SELECT stream FROM atlas.events WHERE type = 'document.created'`)[0]
	if o.code != 1 || !strings.Contains(o.stdout, stream) || !strings.Contains(o.stdout, "data differs") || !strings.Contains(o.stderr, "not what was sealed") {
		t.Errorf("verify after tampering: got %+v", o)
	}
}
