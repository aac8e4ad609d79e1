package engine

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A row reaches its table in one of two ways: as JSON, a few at a time, or by COPY, in bulk. Both give the same values,
// since COPY gets the text that PostgreSQL would take out of the JSON for the column: a string without its quotes, an
// array in braces, anything else as it is written.

// columnKind says how a column takes its text.
type columnKind int

const (
	plainColumn columnKind = iota
	jsonColumn
	arrayColumn
	oddColumn // rows within rows, and domains: only JSON reaches those
)

// columnKinds reads what kinds of columns the table has, in the order of the row struct.
func (t table[R]) columnKinds(ctx context.Context, tx pgx.Tx) ([]columnKind, error) {
	const q = `
		SELECT CASE
			WHEN c.typtype IN ('c', 'd') OR e.typtype IN ('c', 'd') THEN 3
			WHEN e.oid IS NOT NULL THEN CASE WHEN e.typname IN ('json', 'jsonb') THEN 3 ELSE 2 END
			WHEN c.typname IN ('json', 'jsonb') THEN 1
			ELSE 0
		END
		FROM unnest($2::text[]) WITH ORDINALITY AS f (name, n)
			JOIN pg_attribute a ON a.attrelid = $1::regclass AND a.attname = f.name
			JOIN pg_type c ON c.oid = a.atttypid
			LEFT JOIN pg_type e ON e.oid = c.typelem AND c.typcategory = 'A'
		ORDER BY f.n`
	rows, err := tx.Query(ctx, q, t.name, t.columns)
	if err != nil {
		return nil, err
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[columnKind])
	if err == nil && len(kinds) != len(t.columns) {
		err = fmt.Errorf("%s has %d of the %d columns of its row struct", t.name, len(kinds), len(t.columns))
	}
	return kinds, err
}

// copyRows writes rows that the table does not hold.
func (t table[R]) copyRows(ctx context.Context, tx pgx.Tx, all []R) error {
	if len(all) == 0 {
		return nil
	}
	kinds, err := t.columnKinds(ctx, tx)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if k == oddColumn {
			return t.insertRows(ctx, tx, all)
		}
	}
	q := fmt.Sprintf(`COPY %s (%s) FROM STDIN`, t.name, quoted(t.columns, "%s"))
	_, err = tx.Conn().PgConn().CopyFrom(ctx, &copyText[R]{rows: all, kinds: kinds}, q)
	return err
}

// insertRows writes rows as JSON, some megabytes at a time.
func (t table[R]) insertRows(ctx context.Context, tx pgx.Tx, all []R) error {
	for len(all) > 0 {
		n := min(len(all), batchSize)
		raw, err := json.Marshal(all[:n])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, t.upsertQuery(), string(raw)); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// copyText is rows in COPY's text format, as a reader.
type copyText[R any] struct {
	rows  []R
	kinds []columnKind
	line  []byte // what has not been read yet
	spare []byte
}

// Read fills p as far as it can, since every read becomes a message to the server.
func (c *copyText[R]) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(c.line) == 0 {
			if len(c.rows) == 0 {
				break
			}
			if c.spare, err = c.appendRow(c.spare[:0], reflect.ValueOf(&c.rows[0]).Elem()); err != nil {
				return n, err
			}
			c.line, c.rows = c.spare, c.rows[1:]
		}
		copied := copy(p[n:], c.line)
		c.line, n = c.line[copied:], n+copied
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *copyText[R]) appendRow(line []byte, row reflect.Value) (_ []byte, err error) {
	for i, kind := range c.kinds {
		if i > 0 {
			line = append(line, '\t')
		}
		text, null, err := columnText(row.Field(i), kind)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", row.Type().Field(i).Tag.Get("json"), err)
		}
		if null {
			line = append(line, `\N`...)
		} else {
			line = appendEscaped(line, text)
		}
	}
	return append(line, '\n'), nil
}

// columnText returns a field as its column's text.
func columnText(v reflect.Value, kind columnKind) (text string, null bool, err error) {
	if kind == jsonColumn {
		raw, err := json.Marshal(v.Interface())
		return string(raw), string(raw) == "null", err
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() && !v.Type().Implements(marshalerType) {
		v = v.Elem()
	}
	if kind == plainColumn {
		if text, ok := plainText(v); ok {
			return text, false, nil
		}
	}
	if kind == arrayColumn && v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String && !v.IsNil() &&
		!v.Type().Implements(marshalerType) && !v.Type().Elem().Implements(textMarshalerType) && !v.Type().Elem().Implements(marshalerType) {
		return stringArray(v), false, nil
	}
	return viaJSON(v, kind)
}

var (
	marshalerType     = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
)

// plainText returns the text of the types that most columns hold.
func plainText(v reflect.Value) (string, bool) {
	switch value := v.Interface().(type) {
	case uuid.UUID:
		return value.String(), true
	case time.Time:
		if y := value.Year(); y < 0 || y > 9999 {
			return "", false // which JSON refuses
		}
		return value.Format(time.RFC3339Nano), true
	case json.Marshaler, encoding.TextMarshaler:
		return "", false
	}
	switch v.Kind() {
	case reflect.String:
		return valid(v.String()), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10), true
	}
	return "", false
}

// valid returns the string as JSON would carry it.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// stringArray returns a list of strings as an array.
func stringArray(v reflect.Value) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		quoteElement(&b, valid(v.Index(i).String()))
	}
	b.WriteByte('}')
	return b.String()
}

// viaJSON takes the text out of the field's JSON.
func viaJSON(v reflect.Value, kind columnKind) (text string, null bool, err error) {
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return "", false, err
	}
	if kind == arrayColumn && raw[0] == '[' {
		text, err := arrayText(raw)
		return text, false, err
	}
	return scalarText(raw)
}

func scalarText(raw []byte) (text string, null bool, err error) {
	switch raw[0] {
	case 'n':
		return "", true, nil
	case '"':
		err = json.Unmarshal(raw, &text)
		return text, false, err
	}
	return string(raw), false, nil
}

// arrayText returns a JSON array as an array of the database's, nested where it is.
func arrayText(raw []byte) (string, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		item = bytes.TrimSpace(item)
		if item[0] == '[' {
			nested, err := arrayText(item)
			if err != nil {
				return "", err
			}
			b.WriteString(nested)
			continue
		}
		text, null, err := scalarText(item)
		if err != nil {
			return "", err
		}
		if null {
			b.WriteString("NULL")
		} else {
			quoteElement(&b, text)
		}
	}
	b.WriteByte('}')
	return b.String(), nil
}

func quoteElement(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}

// appendEscaped appends what COPY would not take as it is in its own way.
func appendEscaped(line []byte, text string) []byte {
	from := 0
	for i := range len(text) {
		var escape byte
		switch text[i] {
		case '\\':
			escape = '\\'
		case '\n':
			escape = 'n'
		case '\r':
			escape = 'r'
		case '\t':
			escape = 't'
		default:
			continue
		}
		line = append(line, text[from:i]...)
		line = append(line, '\\', escape)
		from = i + 1
	}
	return append(line, text[from:]...)
}
