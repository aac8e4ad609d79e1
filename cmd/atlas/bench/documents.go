package bench

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers/outbox"
)

// catalogWords is the vocabulary of Atlas.
func catalogWords() (*events.Vocabulary, error) { return events.NewVocabulary(events.Catalog()...) }

// folded lists what a node keeps up: all read tables, and the outbox.
func folded() []engine.Projection { return append(projections.Catalog(), outbox.Projection()) }

// newDocumentLog makes a log for documents, and the read tables.
func newDocumentLog(ctx context.Context, room *measure.Room) (*testLog, error) {
	url, err := room.Database(ctx, eventstore.Migrations(), sealing.Migrations(), engine.Migrations(), outbox.Migrations())
	if err != nil {
		return nil, err
	}
	l, err := openLog(ctx, url, sealing.GenerateMaster(), catalogWords)
	if err != nil {
		return nil, err
	}
	if err := engine.Prepare(ctx, l.pool, folded()); err != nil {
		l.pool.Close()
		return nil, err
	}
	return l, nil
}

// bareDocuments is the table that documents are folded into, made by hand.
const bareDocuments = `
	CREATE TABLE bare_documents (id uuid PRIMARY KEY, owner_id uuid NOT NULL, title text NOT NULL, body text NOT NULL,
		content_type text NOT NULL, tags text[] NOT NULL, status text NOT NULL, version bigint NOT NULL,
		created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
	CREATE INDEX ON bare_documents (owner_id, id DESC)`

// documentBody is what each document says, of 1 KiB.
var documentBody = strings.Repeat("Ship it when it is done. ", 40)

// newOwners returns ids of so many owners.
func newOwners(n int) []uuid.UUID {
	all := make([]uuid.UUID, n)
	for i := range all {
		all[i] = uuid.Must(uuid.NewV7())
	}
	return all
}

// documentEvent is the event at a version of a document's stream.
func documentEvent(owner uuid.UUID, version int64) events.Event {
	revised := events.DocumentRevised{
		OwnerID: owner, Title: "Plan", Body: documentBody, ContentType: "text/markdown", Tags: []string{"q4", "plan"},
	}
	if version == 1 {
		return events.DocumentCreated(revised)
	}
	return revised
}

// author writes one document after the other.
type author struct {
	writer
	owner uuid.UUID
}

func (a *author) next() {
	if a.version == 0 || a.version >= streamEvents {
		a.stream, a.version = eventstore.NewStream("document", uuid.Must(uuid.NewV7())), 0
	}
}
