package main_test

import (
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// A write that waits for a lock in the database is in hand while the process is told to stop.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, "ATLAS_DATA_DIR="+dir)
	user := signUp(t, p.url(), "ann@example.com")
	created := user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	path := created.header.Get("Location")

	release := holdStream(t, database(t, dir), "document-"+path[len("/v1/documents/"):])
	answered := make(chan answer, 1)
	go func() {
		a, err := user.do(t.Context(), "PUT", path, content{"Plan B", "Ship it later."})
		if err != nil {
			t.Errorf("the write in hand: %v", err)
		}
		answered <- a
	}()
	release(func() {
		p.terminate()
		p.awaitLog("draining")
		watchtest.Eventually(t, patience, "new requests are turned away", func() bool { return status(p.url()+"/readyz") != http.StatusOK })
	})
	if a := <-answered; a.status != http.StatusOK {
		t.Errorf("the write in hand: got %s, want 200", a)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
	if pids := serverProcesses(dir); len(pids) > 0 {
		t.Errorf("the private server's processes %v are still there", pids)
	}

	again := serve(t, "ATLAS_DATA_DIR="+dir)
	var got document
	into(t, &got, user.at(again.url()).must(t, http.StatusOK, "GET", path, nil))
	if got.Version != 2 || got.Title != "Plan B" {
		t.Errorf("after the restart: got version %d %q, want 2 %q", got.Version, got.Title, "Plan B")
	}
	again.terminate()
	if code := again.wait(); code != 0 {
		t.Errorf("exit code of the second: got %d, want 0", code)
	}
}

// holdStream keeps every append to a stream waiting, from now until release. What release is given runs once an append
// is waiting.
func holdStream(t *testing.T, db *pgxpool.Pool, stream string) (release func(meanwhile func())) {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(t.Context()) })
	if _, err := tx.Exec(t.Context(), `SELECT version FROM atlas.streams WHERE stream = $1 FOR UPDATE`, stream); err != nil {
		t.Fatal(err)
	}
	return func(meanwhile func()) {
		const q = `SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')`
		watchtest.Eventually(t, patience, "an append waits for "+stream, func() bool { return column[int](t, db, q)[0] > 0 })
		meanwhile()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
		db.Close() // the server waits for its clients to leave
	}
}
