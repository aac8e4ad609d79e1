package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// ErrOutdated is a database that must be migrated, by a role that may.
var ErrOutdated = errors.New("the database is not up to date, and this role does not own it; its owner must migrate it")

// Role returns the role that the URL connects as.
func Role(url string) (string, error) {
	cfg, err := parse(url)
	if err != nil {
		return "", err
	}
	return cfg.ConnConfig.User, nil
}

var roleName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Grant gives a role what the sets' Grants say, in one transaction of the owner's, whose URL it is. It may be
// repeated, by any number of processes at once; running ones notice nothing.
func Grant(ctx context.Context, url, role string, sets ...MigrationSet) error {
	if !roleName.MatchString(role) {
		return fmt.Errorf("grant: the name of role %q holds more than letters, digits, and _ . -", role)
	}
	cfg, err := parse(url)
	if err != nil {
		return err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "atlas migrate"
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationKey); err != nil {
			return err
		}
		for _, set := range sets {
			statements := strings.ReplaceAll(set.Grants, "{app}", pgx.Identifier{role}.Sanitize())
			if _, err := tx.Exec(ctx, statements); err != nil {
				return fmt.Errorf("grant %s to %s: %w", set.Name, role, err)
			}
		}
		return nil
	})
}

// owns says whether the session's role owns the schema, or may make it.
func owns(ctx context.Context, db *sql.DB) (owner bool, err error) {
	const q = `SELECT coalesce(
		(SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'atlas'),
		has_database_privilege(current_database(), 'CREATE'))`
	if err = db.QueryRowContext(ctx, q).Scan(&owner); err != nil {
		return false, fmt.Errorf("find the owner of schema atlas: %w", err)
	}
	return owner, nil
}

// Compare tells what the database at url has that the sets have not, and the other way round: in which way it is older, and in
// which it is newer, in words; both are empty where it is what the sets say. It changes nothing.
func Compare(ctx context.Context, url string, sets ...MigrationSet) (older, newer string, err error) {
	cfg, err := parse(url)
	if err != nil {
		return "", "", err
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer db.Close()
	return compare(ctx, db, sets)
}

// upToDate is ErrOutdated if a set has migrations that are not applied.
func upToDate(ctx context.Context, db *sql.DB, sets []MigrationSet) error {
	older, _, err := compare(ctx, db, sets)
	if err == nil && older != "" {
		err = fmt.Errorf("%w (%s)", ErrOutdated, older)
	}
	return err
}

// compare is Compare. It tells of the first set that differs in either way.
func compare(ctx context.Context, db *sql.DB, sets []MigrationSet) (older, newer string, err error) {
	for _, set := range sets {
		files, err := fs.Glob(set.FS, "*.sql")
		if err != nil {
			return "", "", err
		}
		applied, err := appliedOf(ctx, db, set)
		if err != nil {
			return "", "", fmt.Errorf("read migrations of %s: %w", set.Name, err)
		}
		if applied < len(files) {
			older = cmp.Or(older, fmt.Sprintf("%s: %d of %d migrations are applied", set.Name, applied, len(files)))
		}
		if applied > len(files) {
			newer = cmp.Or(newer, fmt.Sprintf("%s: %d migrations are applied, of which it knows %d", set.Name, applied, len(files)))
		}
	}
	return older, newer, nil
}

// appliedOf returns how many migrations of a set the database has; none where it has no place to note them, or the role may
// not look.
func appliedOf(ctx context.Context, db *sql.DB, set MigrationSet) (n int, err error) {
	q := `SELECT coalesce(max(version_id), 0) FROM atlas.migrations_` + set.Name + ` WHERE is_applied`
	err = db.QueryRowContext(ctx, q).Scan(&n)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		return 0, nil
	}
	return n, err
}
