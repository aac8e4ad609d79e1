package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// as is the same database for another role.
func as(t *testing.T, database, role string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// makeRole makes a role that may sign in, until the test ends. Roles belong to the server, not to the database.
func makeRole(t *testing.T, owner *pgxpool.Pool, role string) {
	t.Helper()
	if _, err := owner.Exec(context.Background(), `CREATE ROLE "`+role+`" LOGIN`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), `DROP OWNED BY "`+role+`"; DROP ROLE "`+role+`"`); err != nil {
			t.Error(err)
		}
	})
}

func grantedSet(steps ...[]string) postgres.MigrationSet {
	set := logSet(steps...)
	set.Grants = `GRANT USAGE ON SCHEMA atlas TO {app}; GRANT SELECT ON ALL TABLES IN SCHEMA atlas TO {app}; GRANT INSERT ON atlas.log TO {app}`
	return set
}

func TestARoleThatIsNotTheOwnerDoesWhatItWasGranted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	owner := pgtest.NewDatabase(t)
	pool := connect(t, owner)
	const role = "app-1.x_Y"
	makeRole(t, pool, role)
	app := as(t, owner, role)

	if err := postgres.Migrate(ctx, app, grantedSet(createLog)); !errors.Is(err, postgres.ErrOutdated) {
		t.Errorf("an empty database: got %v, want ErrOutdated", err)
	}
	migrate(t, owner, grantedSet(createLog))
	if err := postgres.Migrate(ctx, app, grantedSet(createLog)); !errors.Is(err, postgres.ErrOutdated) {
		t.Errorf("nothing granted: got %v, want ErrOutdated", err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := postgres.Grant(ctx, owner, role, grantedSet(createLog)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	migrate(t, app, grantedSet(createLog))
	if err := postgres.Migrate(ctx, app, grantedSet(createLog, indexLog)); !errors.Is(err, postgres.ErrOutdated) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("a newer binary: got %v, want ErrOutdated and that 1 of 2 is applied", err)
	}
	mine := connect(t, app)
	if _, err := mine.Exec(ctx, `INSERT INTO atlas.log VALUES (1)`); err != nil {
		t.Error(err)
	}
	if _, err := mine.Exec(ctx, `DELETE FROM atlas.log`); err == nil {
		t.Error("what was not granted was done")
	}
}

func TestARoleMustNotHideSQLInItsName(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"", "a b", "a'b", `a"b`, "a;b", "ä"} {
		if err := postgres.Grant(context.Background(), "postgres://localhost/atlas", role); err == nil || !strings.Contains(err.Error(), "holds more than") {
			t.Errorf("%q: got %v, want it refused", role, err)
		}
	}
}
