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

const documentHistoryTable = `
	CREATE TABLE {table} (
		document_id uuid        NOT NULL,
		version     bigint      NOT NULL,
		owner_id    uuid        NOT NULL,
		position    bigint      NOT NULL,
		type        text        NOT NULL,
		at          timestamptz NOT NULL,
		actor_id    uuid,
		changes     jsonb       NOT NULL,
		PRIMARY KEY (document_id, version)
	);
	CREATE INDEX ON {table} (owner_id);`

// DocumentChange is one entry of a document's history: what one event set.
type DocumentChange struct {
	DocumentID uuid.UUID      `json:"document_id" row:"key"`
	Version    int64          `json:"version" row:"key"`
	OwnerID    uuid.UUID      `json:"owner_id" row:"subject"` // as the event names them
	Position   int64          `json:"position"`
	Type       string         `json:"type"`
	At         time.Time      `json:"at"`
	ActorID    *uuid.UUID     `json:"actor_id"`
	Changes    map[string]any `json:"changes"` // new values; of the body only its size in bytes
}

// DocumentHistory keeps one row per event of a document, deleted ones included.
var DocumentHistory = engine.Define[DocumentChange]("document_history", 2, documentHistoryTable,
	engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentCreated]) {
		c.Changes = content(e.Event.Title, e.Event.Body, e.Event.ContentType, e.Event.Tags)
	}),
	engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentRevised]) {
		c.Changes = content(e.Event.Title, e.Event.Body, e.Event.ContentType, e.Event.Tags)
	}),
	engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentArchived]) { c.Changes = status("archived") }),
	engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentRestored]) { c.Changes = status("active") }),
	engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentDeleted]) { c.Changes = status("deleted") }),
).Always(func(c *DocumentChange, e *eventstore.Recorded) {
	c.OwnerID, c.Position, c.Type, c.At = e.Subject, e.Position, e.Type, e.At
	if actor := e.Metadata.Actor; actor != uuid.Nil {
		c.ActorID = &actor
	}
}).KeyedBy(func(e *eventstore.Recorded) []DocumentChange {
	return []DocumentChange{{DocumentID: e.Stream.ID, Version: e.Version}}
})

func content(title, body, contentType string, tags []string) map[string]any {
	return map[string]any{"title": title, "body_bytes": len(body), "content_type": contentType, "tags": list(tags)}
}

func status(s string) map[string]any { return map[string]any{"status": s} }

// DocumentHistory returns up to limit changes of a document of the owner's, oldest first, after a version. A deleted
// document still has its history.
func (r *Reader) DocumentHistory(ctx context.Context, owner, id uuid.UUID, after int64, limit int) ([]DocumentChange, error) {
	q := `
		SELECT document_id, version, owner_id, position, type, at, actor_id, changes
		FROM ` + DocumentHistory.Table() + ` h
		WHERE document_id = $1 AND version > $3
			AND EXISTS (SELECT FROM ` + DocumentHistory.Table() + ` WHERE document_id = $1 AND version = 1 AND owner_id = $2)
		ORDER BY version
		LIMIT $4`
	rows, err := many[DocumentChange](ctx, r.pool, q, id, owner, after, limit)
	if err == nil && len(rows) == 0 {
		_, err = r.firstChange(ctx, owner, id) // the last page may be empty, but only for the owner
	}
	if err != nil {
		return nil, fmt.Errorf("history of document %s: %w", id, err)
	}
	return rows, nil
}

// firstChange returns the change that made a document of the owner's.
func (r *Reader) firstChange(ctx context.Context, owner, id uuid.UUID) (DocumentChange, error) {
	q := `
		SELECT document_id, version, owner_id, position, type, at, actor_id, changes
		FROM ` + DocumentHistory.Table() + `
		WHERE document_id = $1 AND version = 1 AND owner_id = $2`
	return one[DocumentChange](ctx, r.pool, q, id, owner)
}
