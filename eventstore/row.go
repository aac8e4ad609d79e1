package eventstore

import (
	"bytes"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/atlas-platform/atlas/events"
)

// row is where the rows of one query are scanned to, one after the other: reading events is what most of Atlas waits for,
// so nothing is allocated for a row but what its event keeps. The names are the connection's memory until the next row.
type row struct {
	vocabulary *events.Vocabulary
	known      map[string]string // categories and types, which are few
	columns    []any             // the fields below, in the order of eventColumns and what follows it

	position, version, weight int64
	at                        time.Time
	id, subject               pgtype.UUID
	schema                    int
	stream, kind, metadata    pgtype.DriverBytes
	data, sealed, secret      []byte
}

func newRow(v *events.Vocabulary) *row {
	r := &row{vocabulary: v, known: map[string]string{}}
	r.columns = []any{
		&r.position, &r.version, &r.at, &r.id, &r.subject, &r.schema, &r.stream, &r.kind,
		&r.data, &r.metadata, &r.sealed, &r.secret, &r.weight,
	}
	return r
}

// scan returns the event that the next row is.
func (r *row) scan(from pgx.CollectableRow) (c closed, err error) {
	if err := from.Scan(r.columns...); err != nil {
		return c, err
	}
	made := &struct { // of one piece
		event Recorded
		body  body
	}{}
	e := &made.event
	e.body = &made.body
	e.body.vocabulary, e.body.parts.Data = r.vocabulary, r.data
	e.Position, e.Version, e.At, e.ID, e.Schema = r.position, r.version, r.at.UTC(), r.id.Bytes, r.schema
	e.Subject, e.Type = r.subject.Bytes, r.name(r.kind) // a NULL is nil
	if e.Stream, err = r.parseStream(); err != nil {
		return c, err
	}
	c.recorded, c.weight = e, r.weight
	if e.Metadata, c.client, err = decodeMetadata(r.metadata); err != nil {
		return c, fmt.Errorf("metadata of event %d: %w", e.Position, err)
	}
	switch {
	case r.sealed != nil:
		c.sealed = &Envelope{Subject: e.Subject, Bound: bound(e.ID, sealedPart), Sealed: r.sealed}
	case r.secret == nil && e.Subject != uuid.Nil:
		c.sealed = &Envelope{Subject: e.Subject} // which only asks whether the subject is forgotten
	}
	if r.secret != nil {
		c.secret = &Envelope{Subject: e.Subject, Bound: bound(e.ID, secretPart), Sealed: r.secret}
	}
	return c, nil
}

// parseStream reads the stream's name.
func (r *row) parseStream() (Stream, error) {
	category, text, _ := bytes.Cut(r.stream, []byte("-"))
	id, err := uuid.ParseBytes(text)
	s := Stream{Category: r.name(category), ID: id}
	if err != nil || !isStoredID(text) || !isCategory(s.Category) {
		return ParseStream(string(r.stream)) // which says what is wrong
	}
	return s, nil
}

// name returns a name as a string, the same one for the same name.
func (r *row) name(stored []byte) string {
	name, known := r.known[string(stored)]
	if !known {
		name = string(stored)
		r.known[name] = name
	}
	return name
}
