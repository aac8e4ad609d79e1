package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// shared returns the settings of nodes on a database of the test's own, and a connection to it.
func shared(t *testing.T) (settings []string, db *pgxpool.Pool) {
	t.Helper()
	url := pgtest.NewDatabase(t)
	db, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_PUBLIC_URL=http://atlas.example.com"}, db
}

// after is what a read asks for that must see a position, and how long it would wait.
func after(position, wait any) []string {
	return []string{"Atlas-Min-Position", fmt.Sprint(position), "Prefer", fmt.Sprintf("wait=%v", wait)}
}

// wantLagging holds that an answer says that the view is behind, and when to come again.
func wantLagging(t *testing.T, a answer) {
	t.Helper()
	if pause, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != http.StatusServiceUnavailable || a.problem() != "projection_lagging" || err != nil || pause < 1 {
		t.Errorf("got %s (Retry-After %q), want 503 projection_lagging and when to come again", a, a.header.Get("Retry-After"))
	}
}

// TestOwnWritesAreReadAfterTheDeathOfTheNodeThatFolds kills whoever folds the documents, right after it has answered a write.
func TestOwnWritesAreReadAfterTheDeathOfTheNodeThatFolds(t *testing.T) {
	t.Parallel()
	settings, db := shared(t)
	nodes := []*process{serve(t, settings...), serve(t, settings...), serve(t, settings...)}
	user := signUp(t, nodes[0].url(), "ann@example.com")
	var made receipt
	into(t, &made, user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."}))
	path := "/v1/documents/" + made.ID.String()
	for version := int64(2); len(nodes) > 1; version++ {
		dying := nodes[folder(t, db, nodes)]
		position := user.at(dying.url()).must(t, http.StatusOK, "PUT", path, content{"Plan", fmt.Sprint("version ", version)}).header.Get("Atlas-Position")
		dying.kill()
		nodes = remove(nodes, dying)
		for _, n := range nodes {
			got := user.at(n.url()).must(t, http.StatusOK, "GET", path, nil, after(position, 30)...)
			if want := fmt.Sprintf(`"%d"`, version); got.header.Get("ETag") != want {
				t.Errorf("read %s after the node died, want %s", got.header.Get("ETag"), want)
			}
		}
	}
}

// folder returns which of the processes folds the documents.
func folder(t *testing.T, db *pgxpool.Pool, nodes []*process) (which int) {
	t.Helper()
	const q = `
		SELECT n.name FROM atlas.projections p JOIN atlas.projection_nodes n ON n.id = p.holder
		WHERE p.name = 'documents' AND p.state = 'live'`
	nodes[0].eventually(patience, "somebody folds the documents", func() bool {
		for _, name := range column[string](t, db, q) {
			for i, p := range nodes {
				if strings.HasSuffix(name, fmt.Sprintf("/%d", p.cmd.Process.Pid)) {
					which = i
					return true
				}
			}
		}
		return false
	})
	return which
}

func remove(nodes []*process, gone *process) (left []*process) {
	for _, p := range nodes {
		if p != gone {
			left = append(left, p)
		}
	}
	return left
}

// TestAReadWaitsForItsPositionAndNoLonger asks a node that folds nothing itself, while nobody folds and when somebody does.
func TestAReadWaitsForItsPositionAndNoLonger(t *testing.T) {
	t.Parallel()
	settings, db := shared(t)
	folding := serve(t, settings...)
	reading := serve(t, append(settings, "ATLAS_ROLES=api")...)
	user := signUp(t, reading.url(), "ann@example.com")
	var made receipt
	into(t, &made, user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."}))
	path := "/v1/documents/" + made.ID.String()
	read := func(status int, headers ...string) answer { return user.must(t, status, "GET", path, nil, headers...) }
	read(http.StatusOK, after(made.Position, 30)...)
	awaitProjections(t, db)
	folding.kill()

	// Positions that were drawn and rolled back hold nothing that could be missing.
	const burn = `SELECT nextval('atlas.events_position') FROM generate_series(1, 3)`
	burned := column[int64](t, db, burn)
	read(http.StatusOK, after(burned[2], 30)...)
	if a := read(http.StatusBadRequest, after(burned[2]+1, 30)...); a.problem() != "position_in_future" {
		t.Errorf("beyond the end: got %s", a)
	}

	position := user.must(t, http.StatusOK, "PUT", path, content{"Plan B", "Ship it later."}).header.Get("Atlas-Position")
	for least, headers := range map[time.Duration][]string{0: after(position, 0), time.Second: after(position, 1), 2 * time.Second: after(position, 0)[:2]} {
		began := time.Now()
		wantLagging(t, read(http.StatusServiceUnavailable, headers...))
		if took := time.Since(began); took < least {
			t.Errorf("%v: it gave up after %s", headers, took)
		}
	}
	if got := read(http.StatusOK); got.header.Get("ETag") != `"1"` {
		t.Errorf("without a position: got version %s", got.header.Get("ETag"))
	}

	answers := make(chan answer)
	for range 20 {
		go func() {
			a, err := user.do(t.Context(), "GET", path, nil, after(position, 30)...)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	serve(t, settings...)
	for range 20 {
		var got document
		if a := <-answers; a.status != http.StatusOK || json.Unmarshal(a.body, &got) != nil || got.Version != 2 || got.Title != "Plan B" {
			t.Errorf("a read that waited for somebody to fold: got %s", a)
		}
	}
}
