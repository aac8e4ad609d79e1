package chain

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/jackc/pgx/v5"
)

// event is one row of the log as it is hashed: nothing is opened, decoded or understood. Nil is NULL.
type event struct {
	position, version int64
	stream            []byte
	fields            [len(fieldNames)][]byte
}

// fieldNames are the fields beside position, stream and version, in the order in which they are hashed.
var fieldNames = [...]string{"id", "type", "schema_version", "recorded_at", "subject", "data", "metadata", "sealed", "secret"}

// eventsQuery reads events as they are hashed. The send functions give PostgreSQL's binary form, whatever the session's
// settings are: big-endian integers, and times in microseconds since 2000-01-01 00:00 UTC.
const eventsQuery = `
	SELECT position, version, stream, uuid_send(id), type, int8send(schema_version), timestamptz_send(recorded_at),
		uuid_send(subject), data::text, metadata::text, sealed, secret
	FROM atlas.events
	WHERE position > $1 AND position <= $2
	ORDER BY position`

// querier is what reading needs of a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// scan reads the row that rows stand at.
func (e *event) scan(rows pgx.Rows) error {
	*e = event{}
	into := []any{&e.position, &e.version, &e.stream}
	for i := range e.fields {
		into = append(into, &e.fields[i])
	}
	return rows.Scan(into...)
}

// digest is SHA-256 over everything the event is.
func (e *event) digest() (d [sha256.Size]byte) {
	b := []byte("atlas event 1\x00")
	b = appendField(b, appendInt(nil, e.position))
	b = appendField(b, e.stream)
	b = appendField(b, appendInt(nil, e.version))
	h := sha256.New()
	h.Write(b)
	for _, f := range e.fields {
		h.Write(appendLength(b[:0], f))
		h.Write(f)
	}
	h.Sum(d[:0])
	return d
}

// hintSize is how much of a field's hash is kept.
const hintSize = 2

// hints are the beginnings of each field's hash. They tell what of a changed event differs; the digest alone proves.
type hints [len(fieldNames) * hintSize]byte

func (e *event) hints() (all hints) {
	for i, f := range e.fields {
		h := sha256.New()
		h.Write(appendLength(nil, f))
		h.Write(f)
		copy(all[i*hintSize:(i+1)*hintSize], h.Sum(nil))
	}
	return all
}

// differ names the fields whose hints are not the same.
func (h hints) differ(other hints) (names []string) {
	for i, name := range fieldNames {
		if at := i * hintSize; string(h[at:at+hintSize]) != string(other[at:at+hintSize]) {
			names = append(names, name)
		}
	}
	return names
}

// appendField adds a value and its length before it, so that no two lists of fields have the same bytes.
func appendField(b, f []byte) []byte { return append(appendLength(b, f), f...) }

// appendLength adds the length of a value; NULL, which is not the same as empty, has the highest there is.
func appendLength(b, f []byte) []byte {
	n := uint64(len(f))
	if f == nil {
		n = math.MaxUint64
	}
	return binary.BigEndian.AppendUint64(b, n)
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }
