package projections

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// What an owner's documents come to is not in any one event: a deletion does not say whether the document was archived, nor
// a revision how large the body was before. A fold sees one row and one event, so the row must tell. There are three rows
// that could:
//
//   - One per owner that only counts. Then events would have to say what they replace, and those that the log holds already
//     do not: no upcast knows either, and the counts would be wrong for ever, by a little and unseen.
//   - One per owner that lists the documents it counts. It is right, and is read and written whole with every event: for
//     an owner of a hundred thousand documents, megabytes each time.
//   - One per owner and document. It is right too, but leaves all the counting to each reader.
//
// So there is a row per owner and part of their documents, which lists those it counts; a document's id says in which part
// it is. Whoever reads adds up an owner's rows. Few documents make as many rows; however many there are, no more than
// documentParts, of which an event changes one.

// documentParts is how many parts an owner's documents are counted in: a hundred thousand documents are a hundred in each.
// It is part of what the rows are, so changing it takes a new version of the view.
const documentParts = 1024

const documentStatisticsTable = `
	CREATE TABLE {table} (
		owner_id   uuid        NOT NULL,
		part       integer     NOT NULL,
		documents  jsonb       NOT NULL,
		active     bigint      NOT NULL,
		archived   bigint      NOT NULL,
		body_bytes bigint      NOT NULL,
		changed_at timestamptz NOT NULL,
		PRIMARY KEY (owner_id, part)
	);`

// DocumentPart is a part of an owner's documents, and what they come to.
type DocumentPart struct {
	OwnerID   uuid.UUID         `json:"owner_id" row:"key,subject"`
	Part      int               `json:"part" row:"key"`
	Documents []CountedDocument `json:"documents"` // those that are not deleted, in the order they were created
	Active    int64             `json:"active"`
	Archived  int64             `json:"archived"`
	BodyBytes int64             `json:"body_bytes"`
	ChangedAt time.Time         `json:"changed_at"` // when any of them was last changed, or deleted
}

// CountedDocument is what is counted of a document.
type CountedDocument struct {
	ID        uuid.UUID `json:"id"`
	BodyBytes int64     `json:"body_bytes"`
	Archived  bool      `json:"archived"`
}

// DocumentStatistics counts each owner's documents. Its rows are keyed by what an event says of the document, not by the
// document's stream.
var DocumentStatistics = engine.Define[DocumentPart]("document_statistics", 1, documentStatisticsTable,
	engine.On(func(p *DocumentPart, e engine.Recorded[events.DocumentCreated]) {
		p.Documents = append(p.without(e.Stream.ID), CountedDocument{ID: e.Stream.ID, BodyBytes: int64(len(e.Event.Body))})
		p.count(e.At)
	}),
	engine.Change(func(p *DocumentPart, e engine.Recorded[events.DocumentRevised]) {
		p.change(e.Recorded, func(d *CountedDocument) { d.BodyBytes = int64(len(e.Event.Body)) })
	}),
	engine.Change(func(p *DocumentPart, e engine.Recorded[events.DocumentArchived]) {
		p.change(e.Recorded, func(d *CountedDocument) { d.Archived = true })
	}),
	engine.Change(func(p *DocumentPart, e engine.Recorded[events.DocumentRestored]) {
		p.change(e.Recorded, func(d *CountedDocument) { d.Archived = false })
	}),
	engine.Change(func(p *DocumentPart, e engine.Recorded[events.DocumentDeleted]) {
		if left := p.without(e.Stream.ID); len(left) < len(p.Documents) {
			p.Documents = left
			p.count(e.At)
		}
	}),
).KeyedBy(func(e *eventstore.Recorded) []DocumentPart {
	return []DocumentPart{{OwnerID: e.Subject, Part: partOf(e.Stream.ID)}}
})

// partOf returns the part that a document is counted in. The last bytes of an id are random.
func partOf(document uuid.UUID) int {
	return int(binary.BigEndian.Uint16(document[14:]) % documentParts)
}

// change changes a document of the part and counts anew. One that is not there, since it was deleted, is left so.
func (p *DocumentPart) change(e *eventstore.Recorded, do func(*CountedDocument)) {
	at := slices.IndexFunc(p.Documents, func(d CountedDocument) bool { return d.ID == e.Stream.ID })
	if at < 0 {
		return
	}
	do(&p.Documents[at])
	p.count(e.At)
}

// without returns the part's documents but one.
func (p *DocumentPart) without(id uuid.UUID) []CountedDocument {
	left := make([]CountedDocument, 0, len(p.Documents))
	for _, d := range p.Documents {
		if d.ID != id {
			left = append(left, d)
		}
	}
	return left
}

// count adds up what the documents come to after one has changed.
func (p *DocumentPart) count(at time.Time) {
	p.Active, p.Archived, p.BodyBytes, p.ChangedAt = 0, 0, 0, at
	for _, d := range p.Documents {
		p.BodyBytes += d.BodyBytes
		if d.Archived {
			p.Archived++
		} else {
			p.Active++
		}
	}
}

// DocumentTotals is what an owner's documents come to.
type DocumentTotals struct {
	Active    int64
	Archived  int64
	BodyBytes int64
	ChangedAt *time.Time // nil where the owner never had one
}

// DocumentTotals returns what the owner's documents come to; who has none has zeros.
func (r *Reader) DocumentTotals(ctx context.Context, owner uuid.UUID) (DocumentTotals, error) {
	q := `
		SELECT
			coalesce(sum(active), 0)::bigint AS active,
			coalesce(sum(archived), 0)::bigint AS archived,
			coalesce(sum(body_bytes), 0)::bigint AS body_bytes,
			max(changed_at) AS changed_at
		FROM ` + DocumentStatistics.Table() + `
		WHERE owner_id = $1`
	row, err := one[DocumentTotals](ctx, r.pool, q, owner)
	if err != nil {
		return row, fmt.Errorf("document statistics of %s: %w", owner, err)
	}
	return row, nil
}
