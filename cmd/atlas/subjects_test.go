package main_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// canary is in everything personal that the test's user writes.
const canary = "cnry7q"

// everything returns every row of every table of Atlas as text.
func everything(t *testing.T, url string) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	const tables = `
		SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname <> 'information_schema' AND schemaname !~ '^pg_'`
	rows, err := conn.Query(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range names {
		var text string
		if err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(t::text, E'\n'), '') FROM `+name+` t`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		all[name] = text
	}
	return all
}

// holding returns the tables whose rows hold the canary, plainly or encoded.
func holding(tables map[string]string) (names []string) {
	marks := []string{canary, hex.EncodeToString([]byte(canary)), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(canary)), "=")}
	for name, text := range tables {
		for _, mark := range marks {
			if strings.Contains(text, mark) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

func wantsNoCanary(t *testing.T, url string) {
	t.Helper()
	if names := holding(everything(t, url)); len(names) > 0 {
		t.Errorf("%v still hold what is forgotten", names)
	}
}

// TestAForgottenUserIsNowhere writes a canary wherever a user can, forgets the user by the command line, and looks for it in
// every table and through both nodes; then it does as a restore does, and replays the ledger.
func TestAForgottenUserIsNowhere(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_PUBLIC_URL=http://atlas.example.com"}
	a := serve(t, settings...)
	b := serve(t, settings...)
	email := canary + "@example.com"
	here := newClient(a.url())
	here.must(t, http.StatusAccepted, "POST", "/v1/auth/register", map[string]string{"email": email, "password": password, "name": canary})
	here.signIn(t, email, password)
	there := here.at(b.url())
	w := here.must(t, http.StatusCreated, "POST", "/v1/documents", map[string]any{
		"title": canary, "body": canary, "tags": []string{canary},
	}, "User-Agent", canary)
	path, position := w.header.Get("Location"), w.header.Get("Atlas-Position")
	w = here.must(t, http.StatusOK, "PUT", path, map[string]any{"title": canary + "2", "body": canary}, "User-Agent", canary)
	there.must(t, http.StatusOK, "GET", path+"/history", nil, after(w.header.Get("Atlas-Position"), 30)...)
	var me struct{ ID uuid.UUID }
	into(t, &me, there.must(t, http.StatusOK, "GET", "/v1/me", nil))
	for _, name := range holding(everything(t, url)) {
		if !strings.HasPrefix(name, "read.") {
			t.Errorf("%s holds personal data in the clear", name)
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `CREATE TEMPORARY TABLE backup AS SELECT * FROM atlas.subject_keys`); err != nil {
		t.Fatal(err)
	}

	id := me.ID.String()
	atlas(t, settings, "subjects", "forget", id).wants(t, 2, "--yes")
	atlas(t, settings, "subjects", "forget", canary, "--yes").wants(t, 2, "no user's id")
	atlas(t, settings, "subjects", "forget", uuid.NewString(), "--yes").wants(t, 2, "there is no user")
	first := atlas(t, settings, "subjects", "forget", id, "--yes")
	if first.code != 0 {
		t.Fatalf("forget: %+v", first)
	}
	if again := atlas(t, settings, "subjects", "forget", id, "--yes"); again.code != 0 || again.stdout != first.stdout {
		t.Errorf("forget once more: %+v, want %+v", again, first)
	}

	for _, c := range []*client{here, there} {
		watchtest.Eventually(t, patience, "refused", func() bool {
			got, err := c.do(t.Context(), "GET", "/v1/me", nil)
			return err == nil && got.status == http.StatusUnauthorized
		})
		for _, read := range []string{"/v1/documents", path, path + "/history", path + "?as_of=" + position, "/v1/me"} {
			if got, err := c.do(t.Context(), "GET", read, nil); err != nil || strings.Contains(string(got.body), canary) {
				t.Errorf("GET %s: got %s, %v", read, got, err)
			}
		}
	}
	watchtest.Eventually(t, patience, "gone from the read tables", func() bool { return len(holding(everything(t, url))) == 0 })
	for _, view := range []string{"users", "sessions", "documents", "document_history", "document_statistics"} {
		if o := atlas(t, settings, "projections", "rebuild", view); o.code != 0 {
			t.Fatalf("rebuild %s: %+v", view, o)
		}
	}
	wantsNoCanary(t, url)

	t.Run("the address can be registered again", func(t *testing.T) {
		anew := signUp(t, b.url(), email)
		var other struct{ ID uuid.UUID }
		into(t, &other, anew.must(t, http.StatusOK, "GET", "/v1/me", nil))
		if other.ID == me.ID {
			t.Error("the forgotten user came back")
		}
		if o := atlas(t, settings, "subjects", "forget", other.ID.String(), "--yes"); o.code != 0 {
			t.Fatalf("forget: %+v", o)
		}
	})
	t.Run("a ledger is replayed after a restore", func(t *testing.T) {
		ledger := atlas(t, settings, "subjects", "ledger", "export")
		if ledger.code != 0 || !strings.Contains(ledger.stdout, id) || strings.Contains(ledger.stdout, canary) {
			t.Fatalf("export: %+v", ledger)
		}
		file := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(file, []byte(ledger.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		restoreKeys(t, conn)
		for _, want := range []string{"1 of them had come back", "0 of them had come back"} {
			if o := atlas(t, settings, "subjects", "ledger", "replay", file); o.code != 0 || !strings.Contains(o.stdout, want) {
				t.Errorf("replay: %+v, want %q", o, want)
			}
		}
		if err := os.WriteFile(file, []byte(ledger.stdout[:len(ledger.stdout)/2]), 0o600); err != nil {
			t.Fatal(err)
		}
		atlas(t, settings, "subjects", "ledger", "replay", file).wants(t, 2, "not a whole erasure ledger")
		for _, view := range []string{"users", "documents", "document_history", "document_statistics"} {
			if o := atlas(t, settings, "projections", "rebuild", view); o.code != 0 {
				t.Fatalf("rebuild %s: %+v", view, o)
			}
		}
		watchtest.Eventually(t, patience, "gone from the read tables", func() bool { return len(holding(everything(t, url))) == 0 })
	})
}

// restoreKeys puts the first user's key back as an older backup would, and takes out that they were forgotten.
func restoreKeys(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	const q = `
		BEGIN;
		SET LOCAL session_replication_role = replica;
		DELETE FROM atlas.subject_keys k USING backup b WHERE k.subject = b.subject;
		INSERT INTO atlas.subject_keys SELECT * FROM backup;
		DELETE FROM atlas.erasures e USING backup b WHERE e.subject = b.subject;
		COMMIT`
	if _, err := conn.Exec(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAreRewrappedByTheCommandLine(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	base := []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t)}
	keys := make([]string, 2)
	for i := range keys {
		keys[i] = base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%032d", time.Now().UnixNano()+int64(i))))
	}
	with := func(master string) []string { return append([]string{"ATLAS_MASTER_KEY=" + master}, base...) }
	p := serve(t, with(keys[0])...)
	user := signUp(t, p.url(), "ann@example.com")
	atlas(t, with(keys[1]), "keys", "status").wants(t, 1, "master key")
	both := with(keys[1] + "," + keys[0])
	if o := atlas(t, both, "keys", "rewrap"); o.code != 0 || !strings.Contains(o.stdout, "keys rewrapped") || o.stderr != "" {
		t.Fatalf("rewrap: %+v", o)
	}
	user.must(t, http.StatusOK, "GET", "/v1/me", nil) // the node at work has what it needs
	o := atlas(t, with(keys[1]), "keys", "status")
	if lines := strings.Split(strings.TrimSpace(o.stdout), "\n"); o.code != 0 || len(lines) != 3 || !strings.Contains(lines[1], "wraps") {
		t.Errorf("status: %+v, want one master key and the tombstones", o)
	}
	atlas(t, with(keys[0]), "keys", "status").wants(t, 1, "master key")
}
