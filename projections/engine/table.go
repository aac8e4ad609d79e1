package engine

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// table is what a row struct says of its table.
type table[R any] struct {
	name    string // schema-qualified
	columns []string
	keys    []string
	keyAt   []int // fields of R that are keys
}

func tableOf[R any](id ID) (t table[R], err error) {
	t.name = "read." + id.String()
	row := reflect.TypeFor[R]()
	if row.Kind() != reflect.Struct {
		return t, fmt.Errorf("%s: %s is not a struct", id, row)
	}
	for i := range row.NumField() {
		f := row.Field(i)
		column, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || column == "" || column == "-" {
			return t, fmt.Errorf("%s: field %s needs a json tag that names its column", id, f.Name)
		}
		if f.Type == reflect.TypeFor[[]byte]() {
			return t, fmt.Errorf("%s: field %s: rows travel as JSON and cannot hold bytes", id, f.Name)
		}
		t.columns = append(t.columns, column)
		if f.Tag.Get("row") == "key" {
			t.keys = append(t.keys, column)
			t.keyAt = append(t.keyAt, i)
		}
	}
	if len(t.keys) == 0 {
		return t, fmt.Errorf(`%s: no field is tagged row:"key"`, id)
	}
	return t, nil
}

// streamKey is the key of views that keep one row per stream: its id.
func streamKey[R any](r *eventstore.Recorded) []R {
	var row R
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		if id, ok := v.Field(i).Addr().Interface().(*uuid.UUID); ok && v.Type().Field(i).Tag.Get("row") == "key" {
			*id = r.Stream.ID
			break
		}
	}
	return []R{row}
}

// key returns what tells a row from others.
func (t table[R]) key(row R) string {
	v := reflect.ValueOf(row)
	var b strings.Builder
	for _, i := range t.keyAt {
		fmt.Fprintf(&b, "%v\x00", v.Field(i).Interface())
	}
	return b.String()
}

// create makes the table unless it is there, and holds it against the row struct.
func (t table[R]) create(ctx context.Context, tx pgx.Tx, ddl string) error {
	var there bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, t.name).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := tx.Exec(ctx, strings.ReplaceAll(ddl, "{table}", t.name)); err != nil {
			return fmt.Errorf("create %s: %w", t.name, err)
		}
	}
	const q = `SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`
	rows, err := tx.Query(ctx, q, t.name)
	if err != nil {
		return err
	}
	actual, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	want := slices.Clone(t.columns)
	slices.Sort(want)
	slices.Sort(actual)
	if !slices.Equal(want, actual) {
		return fmt.Errorf("%s has the columns %v, its row struct %v", t.name, actual, want)
	}
	return nil
}

// selectQuery loads the rows whose keys come as a JSON array of rows.
func (t table[R]) selectQuery() string {
	return fmt.Sprintf(`SELECT row_to_json(t) FROM %[1]s t JOIN json_populate_recordset(NULL::%[1]s, $1) k USING (%[2]s)`,
		t.name, strings.Join(t.keys, ", "))
}

// upsertQuery writes rows that come as a JSON array.
func (t table[R]) upsertQuery() string {
	columns := strings.Join(t.columns, ", ")
	var sets []string
	for _, c := range t.columns {
		sets = append(sets, c+" = excluded."+c)
	}
	return fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM json_populate_recordset(NULL::%[1]s, $1)
		ON CONFLICT (%[3]s) DO UPDATE SET %[4]s`, t.name, columns, strings.Join(t.keys, ", "), strings.Join(sets, ", "))
}

// deleteQuery removes the rows whose keys come as a JSON array of rows.
func (t table[R]) deleteQuery() string {
	var same []string
	for _, c := range t.keys {
		same = append(same, "t."+c+" = k."+c)
	}
	return fmt.Sprintf(`DELETE FROM %[1]s t USING json_populate_recordset(NULL::%[1]s, $1) k WHERE %[2]s`,
		t.name, strings.Join(same, " AND "))
}
