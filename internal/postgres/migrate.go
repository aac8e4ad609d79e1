package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/atlas-platform/atlas/internal/wait"
)

// MigrationSet is the schema of one room: numbered SQL files (0001_create_events.sql, 0002_…) at the root of FS.
type MigrationSet struct {
	Name string // lower case; names the set's table of applied versions, atlas.migrations_<name>
	FS   fs.FS

	// Grants is SQL that lets the application's role, {app}, do what it needs with the room's tables, and nothing else.
	// It runs after the migrations, again and again, and only where the application has a role of its own (see Grant).
	Grants string
}

// ErrMigrations is a set that cannot be right: its name, or the numbers of its files.
var ErrMigrations = errors.New("bad migration set")

// Migrate brings the database at url to the newest version of every set, in the order given. Any number of processes
// may call it at once: one migrates and the others wait. A database that is up to date, or ahead of the sets, is left as it is and
// takes no lock. A role that does not own the schema changes nothing, and is told ErrOutdated where there was something to change.
func Migrate(ctx context.Context, url string, sets ...MigrationSet) error {
	cfg, err := parse(url)
	if err != nil {
		return err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "atlas migrate"
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer db.Close()
	providers, err := newProviders(db, sets)
	if err != nil {
		return err
	}
	owner, err := owns(ctx, db)
	if err != nil {
		return err
	}
	if err := upToDate(ctx, db, sets); !owner || !errors.Is(err, ErrOutdated) {
		return err
	}
	if err := createSchema(ctx, db); err != nil {
		return fmt.Errorf("create schema atlas: %w", err)
	}
	for i, set := range sets {
		if err := up(ctx, providers[i]); err != nil {
			return fmt.Errorf("migrate %s: %w", set.Name, err)
		}
	}
	return nil
}

func up(ctx context.Context, provider *goose.Provider) error {
	_, err := provider.Up(ctx)
	if failed := (*goose.PartialError)(nil); errors.As(err, &failed) {
		return fmt.Errorf("%s: %w", failed.Failed.Source.Path, failed.Err)
	}
	return err
}

var setName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,40}$`)

func checkNames(sets []MigrationSet) error {
	seen := map[string]bool{}
	for _, set := range sets {
		if !setName.MatchString(set.Name) || seen[set.Name] {
			return fmt.Errorf("%w: the name %q is taken or not of the form a_b1", ErrMigrations, set.Name)
		}
		seen[set.Name] = true
	}
	return nil
}

// newProviders returns what migrates each set, and does nothing yet to the database.
func newProviders(db *sql.DB, sets []MigrationSet) (all []*goose.Provider, err error) {
	if err := checkNames(sets); err != nil {
		return nil, err
	}
	for _, set := range sets {
		provider, err := newProvider(db, set)
		if err == nil {
			err = checkNumbers(provider.ListSources())
		}
		if err != nil {
			return nil, fmt.Errorf("migrate %s: %w", set.Name, err)
		}
		all = append(all, provider)
	}
	return all, nil
}

func newProvider(db *sql.DB, set MigrationSet) (*goose.Provider, error) {
	provider, err := goose.NewProvider(database.DialectPostgres, db, set.FS,
		goose.WithTableName("atlas.migrations_"+set.Name),
		goose.WithSessionLocker(migrationLock{}),
		goose.WithDisableGlobalRegistry(true),
	)
	if err != nil { // no files, or two of one number
		return nil, fmt.Errorf("%w: %w", ErrMigrations, err)
	}
	return provider, nil
}

// checkNumbers refuses gaps: a file that arrives later below a version already applied would never run.
func checkNumbers(sources []*goose.Source) error {
	for i, source := range sources {
		if want := int64(i + 1); source.Version != want {
			return fmt.Errorf("%w: %s stands where version %d should", ErrMigrations, source.Path, want)
		}
	}
	return nil
}

// createSchema waits for others in a lock, since CREATE SCHEMA IF NOT EXISTS fails when two sessions run it at once.
func createSchema(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationKey); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS atlas"); err != nil {
		return err
	}
	return tx.Commit()
}

// migrationKey is the advisory lock of every migration in a database ("atlasmig" in ASCII).
const migrationKey int64 = 0x61746c61736d6967

// migrationLock lets one session at a time migrate. It lives in the session that migrates: when that is lost, so is the
// lock, and no migration goes on without it.
type migrationLock struct{}

// SessionLock waits by asking again: a session that waits inside a statement holds a snapshot, and CREATE INDEX
// CONCURRENTLY in the migration it waits for would wait for that snapshot in turn.
func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var locked bool
		err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", migrationKey).Scan(&locked)
		if err != nil || locked {
			return err
		}
		if !wait.For(ctx, 50*time.Millisecond) {
			return fmt.Errorf("wait for another process to migrate: %w", context.Cause(ctx))
		}
	}
}

// SessionUnlock lets the next one migrate. The lock is another session's where a pooler changes sessions between transactions.
func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	var held bool
	err := conn.QueryRowContext(ctx, "SELECT pg_advisory_unlock($1)", migrationKey).Scan(&held)
	if err == nil && !held {
		return errPooled
	}
	return err
}

// errPooled says how to migrate instead. The pooler's session keeps the lock until the pooler ends it.
var errPooled = errors.New("the session was changed in the midst of it, as a pooler in transaction mode does: " +
	"migrate with the URL of the server itself (atlas migrate)")
