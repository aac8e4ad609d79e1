package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

const documentsTable = `
	CREATE TABLE {table} (
		id           uuid        PRIMARY KEY,
		owner_id     uuid        NOT NULL,
		title        text        NOT NULL,
		body         text        NOT NULL,
		content_type text        NOT NULL,
		tags         text[]      NOT NULL,
		status       text        NOT NULL,
		version      bigint      NOT NULL,
		created_at   timestamptz NOT NULL,
		updated_at   timestamptz NOT NULL
	);
	CREATE INDEX ON {table} (owner_id, id DESC);`

// DocumentRow is a document as the APIs show it.
type DocumentRow struct {
	ID          uuid.UUID `json:"id" row:"key"`
	OwnerID     uuid.UUID `json:"owner_id" row:"subject"`
	Title       string    `json:"title"`
	Body        string    `json:"body"`
	ContentType string    `json:"content_type"`
	Tags        []string  `json:"tags"`
	Status      string    `json:"status"` // "active" or "archived"
	Version     int64     `json:"version"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Documents keeps one row per document that is not deleted.
var Documents = engine.Define[DocumentRow]("documents", 1, documentsTable,
	engine.Create(func(d *DocumentRow, e engine.Recorded[events.DocumentCreated]) {
		d.OwnerID, d.Status, d.CreatedAt = e.Event.OwnerID, "active", e.At
		d.Title, d.Body, d.ContentType, d.Tags = e.Event.Title, e.Event.Body, e.Event.ContentType, list(e.Event.Tags)
	}),
	engine.Change(func(d *DocumentRow, e engine.Recorded[events.DocumentRevised]) {
		d.Title, d.Body, d.ContentType, d.Tags = e.Event.Title, e.Event.Body, e.Event.ContentType, list(e.Event.Tags)
	}),
	engine.Change(func(d *DocumentRow, e engine.Recorded[events.DocumentArchived]) { d.Status = "archived" }),
	engine.Change(func(d *DocumentRow, e engine.Recorded[events.DocumentRestored]) { d.Status = "active" }),
	engine.Delete[events.DocumentDeleted](),
).Always(func(d *DocumentRow, e *eventstore.Recorded) { d.Version, d.UpdatedAt = e.Version, e.At })

// Document returns one of the owner's documents.
func (r *Reader) Document(ctx context.Context, owner, id uuid.UUID) (DocumentRow, error) {
	q := `
		SELECT id, owner_id, title, body, content_type, tags, status, version, created_at, updated_at
		FROM ` + Documents.Table() + `
		WHERE id = $1 AND owner_id = $2`
	row, err := one[DocumentRow](ctx, r.pool, q, id, owner)
	if err != nil {
		return row, fmt.Errorf("document %s: %w", id, err)
	}
	return row, nil
}

// DocumentsOf returns up to limit of the owner's documents, newest first, without their bodies. It goes on after the
// document with the id before, the nil UUID for the first page. An empty status means any.
func (r *Reader) DocumentsOf(ctx context.Context, owner uuid.UUID, status string, before uuid.UUID, limit int) ([]DocumentRow, error) {
	q := `
		SELECT id, owner_id, title, '' AS body, content_type, tags, status, version, created_at, updated_at
		FROM ` + Documents.Table() + `
		WHERE owner_id = $1
			AND ($2 = '' OR status = $2)
			AND ($3 = '00000000-0000-0000-0000-000000000000'::uuid OR id < $3)
		ORDER BY id DESC
		LIMIT $4`
	rows, err := many[DocumentRow](ctx, r.pool, q, owner, status, before, limit)
	if err != nil {
		return nil, fmt.Errorf("documents of %s: %w", owner, err)
	}
	return rows, nil
}
