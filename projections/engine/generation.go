package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrNoGeneration says that there is nothing to roll back to.
var ErrNoGeneration = fault.New(fault.NotFound, "projection_generation_missing", "there is no earlier generation of this projection to go back to")

// errColumns says that a generation cannot take the place of another.
var errColumns = errors.New("its columns are not what they were; raise its version, and it gets a table of its own")

// errNamed says that a table cannot stand beside another of the same DDL.
var errNamed = errors.New("its DDL names an index or a constraint, so there cannot be a second table of it; leave the name out")

// The states of a generation. What they mean is said in the migration.
const (
	building  = "building"
	following = "following"
	live      = "live"
	retired   = "retired"
)

// generation is one table of a version of a projection, and how far it has come.
type generation struct {
	ID       ID
	Number   int
	State    string
	Position int64
	Epoch    int64
}

// table is where a generation's rows are. Readers do not see it: they read a view of the version's name.
func (g generation) table() string { return generationTable(g.ID, g.Number) }

func generationTable(id ID, number int) string { return fmt.Sprintf("read.%s_g%d", id, number) }

const generationColumns = `name, version, generation, state, position, epoch`

func scanGeneration(row pgx.CollectableRow) (g generation, err error) {
	return g, row.Scan(&g.ID.Name, &g.ID.Version, &g.Number, &g.State, &g.Position, &g.Epoch)
}

// generations returns all generations of a version, the newest last. With lock they are the caller's until its
// transaction ends.
func generations(ctx context.Context, q querier, id ID, lock bool) ([]generation, error) {
	sql := `SELECT ` + generationColumns + ` FROM atlas.projections WHERE name = $1 AND version = $2 ORDER BY generation`
	if lock {
		sql += ` FOR UPDATE`
	}
	rows, err := q.Query(ctx, sql, id.Name, id.Version)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanGeneration)
}

// inState returns the newest generation in a state.
func inState(all []generation, state string) (generation, bool) {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].State == state {
			return all[i], true
		}
	}
	return generation{}, false
}

// unfinished returns the generation that a job is at work on.
func unfinished(all []generation) (generation, bool) {
	if g, there := inState(all, building); there {
		return g, true
	}
	return inState(all, following)
}

// move sets a generation's checkpoint, if it still is where and whose the caller believes it to be.
func (g *generation) move(ctx context.Context, tx pgx.Tx, to int64) error {
	const q = `
		UPDATE atlas.projections SET position = $6, moved_at = clock_timestamp()
		WHERE name = $1 AND version = $2 AND generation = $3 AND position = $4 AND epoch = $5`
	tag, err := tx.Exec(ctx, q, g.ID.Name, g.ID.Version, g.Number, g.Position, g.Epoch, to)
	if err == nil && tag.RowsAffected() != 1 {
		err = errTurnLost
	}
	return err
}

// setState says what a generation is from now on. Whoever held it has lost it, unless it is to be kept.
func (g *generation) setState(ctx context.Context, tx pgx.Tx, state string, keep bool) error {
	const q = `
		UPDATE atlas.projections
		SET state = $4, epoch = CASE WHEN $5 THEN epoch ELSE epoch + 1 END, holder = CASE WHEN $5 THEN holder END
		WHERE name = $1 AND version = $2 AND generation = $3 AND epoch = $6
		RETURNING epoch`
	err := tx.QueryRow(ctx, q, g.ID.Name, g.ID.Version, g.Number, state, keep, g.Epoch).Scan(&g.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return errTurnLost
	}
	return err
}

// drop removes a generation and its table.
func (g generation) drop(ctx context.Context, tx pgx.Tx) error {
	const q = `DELETE FROM atlas.projections WHERE name = $1 AND version = $2 AND generation = $3`
	if _, err := tx.Exec(ctx, q, g.ID.Name, g.ID.Version, g.Number); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+g.table())
	return err
}

// make makes the table of a generation and holds it against the row struct.
func (t table[R]) make(ctx context.Context, tx pgx.Tx, ddl string) error {
	_, err := tx.Exec(ctx, strings.ReplaceAll(ddl, "{table}", t.name))
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42P07" {
		err = fmt.Errorf("%w (%s)", errNamed, pg.Message)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", t.read(), err)
	}
	return t.check(ctx, tx)
}

// check holds the table against the row struct.
func (t table[R]) check(ctx context.Context, tx pgx.Tx) error {
	if err := t.compare(ctx, tx, "columns", `true`, t.columns); err != nil {
		return err
	}
	return t.compare(ctx, tx, "primary key", `attnum = ANY (SELECT unnest(indkey) FROM pg_index
		WHERE indrelid = attrelid AND indisprimary)`, t.keys)
}

// present makes readers see a generation's table: they read a view of it by the version's name. Statements prepared on
// the view stay good, since its columns stay what they are.
func (t table[R]) present(ctx context.Context, tx pgx.Tx, number int) error {
	columns, err := t.viewColumns(ctx, tx)
	if err != nil {
		return err
	}
	q := fmt.Sprintf(`CREATE OR REPLACE VIEW %s AS SELECT %s FROM %s`, t.read(), quoted(columns, "%s"), generationTable(t.id, number))
	_, err = tx.Exec(ctx, q)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && (pg.Code == "42P16" || pg.Code == "42703") {
		err = fmt.Errorf("%w (%s)", errColumns, pg.Message)
	}
	if err != nil {
		return fmt.Errorf("present generation %d of %s: %w", number, t.id, err)
	}
	return nil
}

// read is the name by which the version is read.
func (t table[R]) read() string { return "read." + t.id.String() }

// viewColumns returns the columns of the version's view in its order, or the row struct's where there is no view yet.
func (t table[R]) viewColumns(ctx context.Context, tx pgx.Tx) ([]string, error) {
	const q = `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 ORDER BY attnum`
	rows, err := tx.Query(ctx, q, t.read())
	if err != nil {
		return nil, err
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(there) == 0 {
		there = t.columns
	}
	return there, err
}

// createLive makes what the version's readers need unless it is there: the table of its first generation, and the view. A
// table from before there were generations becomes the first.
func (t table[R]) createLive(ctx context.Context, tx pgx.Tx, ddl string) error {
	const q = `SELECT coalesce((SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)), '')`
	const number = `SELECT coalesce(max(generation) FILTER (WHERE state = 'live'), 1) FROM atlas.projections WHERE name = $1 AND version = $2`
	var kind string
	if err := tx.QueryRow(ctx, q, t.name).Scan(&kind); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRow(ctx, number, t.id.Name, t.id.Version).Scan(&n); err != nil {
		return err
	}
	table := t.of(n)
	switch kind {
	case "v":
		return table.check(ctx, tx)
	case "r":
		rename := fmt.Sprintf(`ALTER TABLE %s RENAME TO %s`, t.name, strings.TrimPrefix(table.name, "read."))
		if _, err := tx.Exec(ctx, rename); err != nil {
			return err
		}
		if err := table.check(ctx, tx); err != nil {
			return err
		}
	default:
		if err := table.make(ctx, tx, ddl); err != nil {
			return err
		}
	}
	return t.present(ctx, tx, n)
}
