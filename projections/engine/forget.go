package engine

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
)

// forgottenType is the event that every view with a subject column handles by itself.
var forgottenType = reflect.TypeFor[events.SubjectForgotten]()

// forgottenName is its stored name.
const forgottenName = "subject.forgotten"

// column is the column of a row that says whose it is, if there is one.
type column struct {
	there bool
	name  string
	field int
}

// tagged says whether a field has the role in its row tag.
func tagged(f reflect.StructField, role string) bool {
	return slices.Contains(strings.Split(f.Tag.Get("row"), ","), role)
}

// addSubject takes in a field of the row, if it is the subject's.
func (t *table[R]) addSubject(i int, f reflect.StructField) error {
	switch {
	case !tagged(f, "subject"):
		return nil
	case t.subject.there:
		return fmt.Errorf("is a second subject beside %s", t.subject.name)
	case f.Type != reflect.TypeFor[uuid.UUID]():
		return fmt.Errorf("is a %s; a subject is a UUID", f.Type)
	}
	t.subject = column{there: true, name: f.Tag.Get("json"), field: i}
	return nil
}

// of returns whose a row is; the nil UUID where that is not known.
func (c column) of(row any) uuid.UUID {
	if !c.there {
		return uuid.Nil
	}
	return reflect.ValueOf(row).Field(c.field).Interface().(uuid.UUID)
}

// ofErased says whether a row that an event of a forgotten subject was folded into is that subject's, and so must not be.
// A row that did not exist before and is nobody's was only made by the event: its maker has been erased before.
func (c column) ofErased(row any, forgotten uuid.UUID, isNew bool) bool {
	subject := c.of(row)
	return c.there && (subject == forgotten || isNew && subject == uuid.Nil)
}

// forget drops the rows of a subject that is forgotten, at this point of the log: those at hand now, the others on save.
func (rs *rows[R]) forget(subject uuid.UUID) {
	if !rs.table.subject.there {
		return
	}
	rs.forgotten = append(rs.forgotten, subject)
	for _, c := range rs.cells {
		if c.row != nil && rs.table.subject.of(*c.row) == subject {
			c.row, c.dirty = nil, true
		}
	}
}

// dropForgotten deletes the rows of the forgotten. It comes before what the batch has changed is written: a row that the
// batch gave to somebody else is written after.
func (rs *rows[R]) dropForgotten(ctx context.Context, tx pgx.Tx) error {
	if len(rs.forgotten) == 0 {
		return nil
	}
	q := fmt.Sprintf(`DELETE FROM %s WHERE "%s" = ANY ($1)`, rs.table.name, rs.table.subject.name)
	if _, err := tx.Exec(ctx, q, rs.forgotten); err != nil {
		return err
	}
	return dropStanding(ctx, tx, rs.table.id.Name, rs.forgotten)
}

// dropStanding deletes the rows of the forgotten from the tables of a projection that stand still: retired generations, and
// versions that no process runs. Nobody else would, until they are needed again.
func dropStanding(ctx context.Context, tx pgx.Tx, name string, forgotten []uuid.UUID) error {
	const standing = `
		SELECT name, version, generation, subject
		FROM atlas.projections p
		WHERE name = $1 AND subject IS NOT NULL AND to_regclass('read.' || name || '_v' || version || '_g' || generation) IS NOT NULL
			AND (state = 'retired' OR NOT EXISTS (
				SELECT FROM atlas.projection_nodes n WHERE p.name || '_v' || p.version = ANY (n.runs) AND ` + nodeLives + `))`
	rows, err := tx.Query(ctx, standing, name)
	if err != nil {
		return err
	}
	var g generation
	var subject string
	var all []string
	_, err = pgx.ForEachRow(rows, []any{&g.ID.Name, &g.ID.Version, &g.Number, &subject}, func() error {
		all = append(all, fmt.Sprintf(`DELETE FROM %s WHERE %s = ANY ($1)`, g.table(), pgx.Identifier{subject}.Sanitize()))
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range all {
		if _, err := tx.Exec(ctx, q, forgotten); err != nil {
			return err
		}
	}
	return nil
}
