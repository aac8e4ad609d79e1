package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// twoRoles is an empty database with an owner and an application's role, neither a superuser.
type twoRoles struct {
	super, owner, app string // URLs
	appRole           string
}

func newTwoRoles(t *testing.T) twoRoles {
	t.Helper()
	r := twoRoles{super: pgtest.NewDatabase(t)}
	u, err := url.Parse(r.super)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	owner, app := name+"_owner", name+"_app"
	super := connect(t, r.super)
	for _, q := range []string{
		`CREATE ROLE %[1]s LOGIN`, `CREATE ROLE %[2]s LOGIN`, `GRANT %[2]s TO %[1]s`, `ALTER DATABASE %[3]s OWNER TO %[1]s`,
	} {
		if _, err := super.Exec(t.Context(), fmt.Sprintf(q, owner, app, name)); err != nil {
			t.Fatal(err)
		}
	}
	u.User = url.User(owner)
	r.owner = u.String()
	u.User = url.User(app)
	r.app, r.appRole = u.String(), app
	return r
}

func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestTheApplicationsRoleServesAndCannotTouchTheLog walks through everything a server does.
func TestTheApplicationsRoleServesAndCannotTouchTheLog(t *testing.T) {
	t.Parallel()
	r, dir := newTwoRoles(t), dataDir(t)
	super := connect(t, r.super)
	app := []string{"ATLAS_DATABASE_URL=" + r.app, "ATLAS_DATA_DIR=" + dir, "ATLAS_DEV=1"}
	both := append([]string{"ATLAS_OWNER_DATABASE_URL=" + r.owner}, app...)
	atlas(t, onFreePorts(app), "serve").wants(t, 1, "is not up to date")
	atlas(t, both, "migrate").wants(t, 0)
	atlas(t, both, "migrate").wants(t, 0)

	useAll(t, serve(t, app...), super, dir, "ann@example.com")
	useAll(t, serve(t, both...), super, dir, "bob@example.com")
	atlas(t, app, "projections", "rebuild", "documents").wants(t, 0)
	atlas(t, app, "events", "verify").wants(t, 0)
	db := connect(t, r.app)
	refusesTheApplication(t, db)
	everyTableHasItsRights(t, db, r.appRole)
	everyWriterActsAsItsOwner(t, db)
	mustExec(t, r.super, `SELECT setval('atlas.events_position', 33554432)`) // the log's first part is full
	for _, move := range []string{"detach", "attach"} {
		atlas(t, app, "events", move, "0").wants(t, 2, "only the role that owns the log's tables may do that; connect as that role")
	}
}

// useAll signs somebody up, writes, reads what was written, refreshes, and waits for the welcome mail, the
// projections and the sealer.
func useAll(t *testing.T, p *process, db *pgxpool.Pool, dir, email string) {
	t.Helper()
	user := signUp(t, p.url(), email)
	written := user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."}, "Idempotency-Key", "a-key-of-"+email)
	path, position := written.header.Get("Location"), written.header.Get("Atlas-Position")
	user.must(t, http.StatusOK, "GET", path, nil, after(position, 30)...)
	user.must(t, http.StatusOK, "PUT", path, content{"Plan B", "Later."}, "If-Match", `"1"`)
	user.take(t, user.must(t, http.StatusOK, "POST", "/v1/auth/token/refresh", map[string]string{"refresh_token": user.refresh}))
	user.must(t, http.StatusOK, "GET", "/v1/me", nil)
	var crowd sync.WaitGroup
	for range 32 { // appends that share transactions; a group that is refused is appended one by one
		crowd.Go(func() {
			if got, err := user.do(t.Context(), "POST", "/v1/documents", content{"Plan", "One of many."}); err != nil || got.status != http.StatusCreated {
				t.Errorf("one of many writes: got %v, %v", got, err)
			}
		})
	}
	crowd.Wait()
	watchtest.Eventually(t, patience, "the outbox's worker writes a mail to "+email, func() bool {
		mails, err := filepath.Glob(filepath.Join(dir, "mail", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range mails {
			if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), email) {
				return true
			}
		}
		return false
	})
	awaitProjections(t, db)
	awaitSealed(t, db)
	p.terminate()
	if code := p.wait(); code != 0 {
		t.Errorf("the server exited %d", code)
	}
}

// logTables lists the tables of the schema; ofTheLog are those that the application may only read.
const (
	logTables = `SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'atlas'::regnamespace AND c.relkind IN ('r', 'p')`
	ofTheLog  = `^(events|epochs|streams|commands|chains|chain_blocks|detached_parts|imports|migrations_)`
)

// refusesTheApplication tries what an attacker in the application would.
func refusesTheApplication(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	var tries []string
	for _, table := range column[string](t, db, logTables+` AND c.relname ~ $1`, ofTheLog) {
		column := column[string](t, db, `SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1`, "atlas."+table)[0]
		tries = append(tries,
			fmt.Sprintf(`UPDATE atlas.%s SET %s = NULL`, table, column),
			fmt.Sprintf(`DELETE FROM atlas.%s`, table),
			fmt.Sprintf(`TRUNCATE atlas.%s`, table),
			fmt.Sprintf(`INSERT INTO atlas.%s SELECT * FROM atlas.%[1]s LIMIT 0`, table),
			fmt.Sprintf(`SELECT * FROM atlas.%s FOR UPDATE`, table),
			fmt.Sprintf(`ALTER TABLE atlas.%s DISABLE TRIGGER ALL`, table),
			fmt.Sprintf(`DROP TABLE atlas.%s CASCADE`, table),
		)
	}
	tries = append(tries,
		`DROP TRIGGER events_append_only ON atlas.events`,
		`ALTER TABLE atlas.events DETACH PARTITION atlas.events_0`,
		`DELETE FROM atlas.subject_keys`,
		`UPDATE atlas.erasures SET position = 1`,
		`DELETE FROM atlas.erasures`,
		`SELECT setval('atlas.events_position', 1)`,
		`SELECT nextval('atlas.events_position')`,
		`SELECT atlas.make_part(7)`,
		`SELECT atlas.empty_commands(now() + interval '1 year')`,
		`SELECT atlas.record_command(0, gen_random_uuid(), '', '[]', now())`,
		`SET session_replication_role = replica`,
		`CREATE TABLE atlas.mine (n int)`,
		`CREATE FUNCTION atlas.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		`CREATE OR REPLACE FUNCTION atlas.horizon() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`,
		`CREATE SCHEMA mine`,
		`DROP SCHEMA atlas CASCADE`,
	)
	for _, f := range column[string](t, db, `SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'atlas'::regnamespace`) {
		tries = append(tries, "ALTER FUNCTION "+f+" SECURITY INVOKER", "DROP FUNCTION "+f+" CASCADE")
	}
	for _, try := range tries {
		_, err := db.Exec(t.Context(), try)
		if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "42501" {
			t.Errorf("%s: got %v, want that permission is denied", try, err)
		}
	}
	const q = `SELECT count(*) FROM pg_proc p WHERE pronamespace = 'atlas'::regnamespace AND prosecdef
		AND NOT coalesce('search_path=pg_catalog, atlas, pg_temp' = ANY (proconfig), false)`
	if n := column[int](t, db, q)[0]; n != 0 {
		t.Errorf("%d functions act as their owner and look names up where the caller says", n)
	}
}

// everyTableHasItsRights fails where a room made a table and granted nothing on it.
func everyTableHasItsRights(t *testing.T, db *pgxpool.Pool, role string) {
	t.Helper()
	const q = `
		SELECT c.oid::regclass::text
		FROM pg_class c
		WHERE c.relnamespace IN ('atlas'::regnamespace, 'outbox'::regnamespace, 'read'::regnamespace)
			AND c.relkind IN ('r', 'p')
			AND c.relname !~ $2
			AND NOT (has_table_privilege($1, c.oid, 'SELECT') AND has_table_privilege($1, c.oid, 'INSERT')
				AND (has_table_privilege($1, c.oid, 'UPDATE') OR c.relname = 'erasures'))` // a ledger's lines are never changed
	if forgotten := column[string](t, db, q, role, ofTheLog); len(forgotten) > 0 {
		t.Errorf("the application has no rights on %v: add them to the grants.sql of their room", forgotten)
	}
}

// everyWriterActsAsItsOwner fails where a function of the log writes or locks rows, and would do so as the application,
// which may not. Some are the owner's business alone.
func everyWriterActsAsItsOwner(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	const q = `
		SELECT p.oid::regprocedure::text
		FROM pg_proc p
		WHERE p.pronamespace = 'atlas'::regnamespace AND NOT p.prosecdef
			AND p.prosrc ~* '(INSERT\s+INTO|UPDATE\s+atlas|DELETE\s+FROM|TRUNCATE|FOR\s+(NO KEY )?UPDATE|LOCK\s+TABLE|nextval|setval)'
			AND p.proname !~ '^(make_part|detach_part|attach_part|empty_commands|record_command|refuse_)'
			AND p.proname !~ '_(subscription|queue|topic)$'` // these write tables that are the application's own
	if forgotten := column[string](t, db, q); len(forgotten) > 0 {
		t.Errorf("%v write as the application, which may not: add them to eventstore/grants.sql", forgotten)
	}
}

// TestAnApplicationsRoleCanBeAddedLater starts with one role that does everything.
func TestAnApplicationsRoleCanBeAddedLater(t *testing.T) {
	t.Parallel()
	r, dir := newTwoRoles(t), dataDir(t)
	super := connect(t, r.super)
	rest := []string{"ATLAS_DATA_DIR=" + dir, "ATLAS_DEV=1"}
	useAll(t, serve(t, append(rest, "ATLAS_DATABASE_URL="+r.owner)...), super, dir, "ann@example.com")
	app := append(rest, "ATLAS_DATABASE_URL="+r.app)
	atlas(t, onFreePorts(app), "serve").wants(t, 1, "is not up to date")
	atlas(t, append(app, "ATLAS_OWNER_DATABASE_URL="+r.owner), "migrate").wants(t, 0)
	useAll(t, serve(t, app...), super, dir, "bob@example.com")
	atlas(t, app, "projections", "rebuild", "users").wants(t, 0)
	useAll(t, serve(t, append(rest, "ATLAS_DATABASE_URL="+r.owner)...), super, dir, "cid@example.com") // and back
	atlas(t, app, "events", "verify").wants(t, 0)
	refusesTheApplication(t, connect(t, r.app))
}
