package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
)

// table is what a row struct says of its table.
type table[R any] struct {
	id      ID
	name    string // schema-qualified; readers' view, or the table of one generation
	columns []string
	keys    []string
	keyAt   []int  // fields of R that are keys
	subject column // where the row says whose it is
}

// of returns the table that holds the rows of a generation.
func (t table[R]) of(generation int) table[R] {
	t.name = generationTable(t.id, generation)
	return t
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// tableOf reads a row struct, and says all that keeps it from being one.
func tableOf[R any](id ID) (t table[R], faults []error) {
	t.id, t.name = id, "read."+id.String()
	if !namePattern.MatchString(id.Name) {
		faults = append(faults, fmt.Errorf("the name %q is not of lower-case letters, digits and underscores", id.Name))
	}
	row := reflect.TypeFor[R]()
	if row.Kind() != reflect.Struct {
		return t, append(faults, fmt.Errorf("%s is not a struct", row))
	}
	for i := range row.NumField() {
		if err := t.add(i, row.Field(i)); err != nil {
			faults = append(faults, fmt.Errorf("field %s %w", row.Field(i).Name, err))
		}
	}
	if len(t.keys) == 0 {
		faults = append(faults, errors.New(`no field is tagged row:"key"`))
	}
	return t, faults
}

// add takes in a field of the row.
func (t *table[R]) add(i int, f reflect.StructField) error {
	column := f.Tag.Get("json")
	switch {
	case !f.IsExported(), !namePattern.MatchString(column):
		return errors.New("needs a json tag that names its column, and nothing more")
	case isBytes(f.Type):
		return errors.New("holds bytes, and rows travel as JSON")
	}
	t.columns = append(t.columns, column)
	if err := t.addSubject(i, f); err != nil {
		return err
	}
	if !tagged(f, "key") {
		return nil
	}
	if !isKey(f.Type) {
		return fmt.Errorf("is a %s; a key is a UUID, a string, an integer or a boolean", f.Type)
	}
	t.keys = append(t.keys, column)
	t.keyAt = append(t.keyAt, i)
	return nil
}

// isBytes says whether JSON would carry values of the type as base64, which no column understands.
func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !t.Implements(reflect.TypeFor[json.Marshaler]())
}

// isKey says whether values of the type come back from the table exactly as they went in, so that they find their row.
func isKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return true
	}
	return t == reflect.TypeFor[uuid.UUID]()
}

// keyedByStream says whether a stream's id is all it takes to name a row.
func (t table[R]) keyedByStream() bool {
	return len(t.keyAt) == 1 && reflect.TypeFor[R]().Field(t.keyAt[0]).Type == reflect.TypeFor[uuid.UUID]()
}

// streamKey is the key of views that keep one row per stream: its id.
func (t table[R]) streamKey(r *eventstore.Recorded) []R {
	var row R
	reflect.ValueOf(&row).Elem().Field(t.keyAt[0]).Set(reflect.ValueOf(r.Stream.ID))
	return []R{row}
}

// streamOf returns the id of the stream that a row is keyed by.
func (t table[R]) streamOf(key R) uuid.UUID {
	return reflect.ValueOf(key).Field(t.keyAt[0]).Interface().(uuid.UUID)
}

// key returns what tells a row from others: its key columns, as JSON. Operators see it, and it is kept for parked rows.
func (t table[R]) key(row R) string {
	v := reflect.ValueOf(row)
	var b strings.Builder
	for n, i := range t.keyAt {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(t.columns[i]))
		b.WriteByte(':')
		keyJSON(&b, v.Field(i))
	}
	return "{" + b.String() + "}"
}

func keyJSON(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.String:
		raw, _ := json.Marshal(v.String()) // which cannot fail
		b.Write(raw)
	case reflect.Array:
		id := v.Interface().(uuid.UUID)
		b.WriteByte('"')
		b.WriteString(id.String())
		b.WriteByte('"')
	default:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	}
}

// keyOf returns a row with nothing but the key columns of another.
func (t table[R]) keyOf(row R) (key R) {
	from, to := reflect.ValueOf(row), reflect.ValueOf(&key).Elem()
	for _, i := range t.keyAt {
		to.Field(i).Set(from.Field(i))
	}
	return key
}

// keyColumns returns the key columns of a row, by name.
func (t table[R]) keyColumns(row R) map[string]any {
	v := reflect.ValueOf(row)
	columns := make(map[string]any, len(t.keys))
	for i, name := range t.keys {
		columns[name] = v.Field(t.keyAt[i]).Interface()
	}
	return columns
}

// compare holds what the table has, of the columns that a condition chooses, against what the row struct says.
func (t table[R]) compare(ctx context.Context, tx pgx.Tx, what, condition string, want []string) error {
	q := `SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND ` + condition
	rows, err := tx.Query(ctx, q, t.name)
	if err != nil {
		return err
	}
	actual, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	want = slices.Clone(want)
	slices.Sort(want)
	slices.Sort(actual)
	if !slices.Equal(want, actual) {
		return fmt.Errorf("%s has the %s %v, its row struct %v", t.read(), what, actual, want)
	}
	return nil
}

// selectQuery loads the rows whose keys come as a JSON array of objects.
func (t table[R]) selectQuery() string {
	return fmt.Sprintf(`SELECT row_to_json(t) FROM %[1]s t JOIN json_populate_recordset(NULL::%[1]s, $1) k USING (%[2]s)`,
		t.name, quoted(t.keys, "%s"))
}

// upsertQuery writes rows that come as a JSON array.
func (t table[R]) upsertQuery() string {
	return fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM json_populate_recordset(NULL::%[1]s, $1)
		ON CONFLICT (%[3]s) DO UPDATE SET %[4]s`, t.name, quoted(t.columns, "%s"), quoted(t.keys, "%s"),
		quoted(t.columns, "%[1]s = excluded.%[1]s"))
}

// deleteQuery removes the rows whose keys come as a JSON array of objects.
func (t table[R]) deleteQuery() string {
	return fmt.Sprintf(`DELETE FROM %[1]s t USING json_populate_recordset(NULL::%[1]s, $1) k WHERE (%[2]s) = (%[3]s)`,
		t.name, quoted(t.keys, "t.%s"), quoted(t.keys, "k.%s"))
}

// quoted puts each column, quoted since it may be a word of SQL's, into the form, and commas between them.
func quoted(columns []string, form string) string {
	forms := make([]string, len(columns))
	for i, c := range columns {
		forms[i] = fmt.Sprintf(form, `"`+c+`"`)
	}
	return strings.Join(forms, ", ")
}
