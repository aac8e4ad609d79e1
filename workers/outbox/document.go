package outbox

import (
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Documents is the topic of what happens to documents.
const Documents = "documents"

// Document lists the contracts about documents.
var Document = []Contract{
	Define(Documents, func(e engine.Recorded[events.DocumentCreated]) DocumentCreated {
		return DocumentCreated{e.Stream.ID, e.Event.OwnerID, e.Event.ContentType, e.Version, e.At}
	}),
	Define(Documents, func(e engine.Recorded[events.DocumentRevised]) DocumentRevised {
		return DocumentRevised{e.Stream.ID, e.Event.OwnerID, e.Event.ContentType, e.Version, e.At}
	}),
	Define(Documents, func(e engine.Recorded[events.DocumentArchived]) DocumentArchived {
		return DocumentArchived{e.Stream.ID, e.Version, e.At}
	}),
	Define(Documents, func(e engine.Recorded[events.DocumentRestored]) DocumentRestored {
		return DocumentRestored{e.Stream.ID, e.Version, e.At}
	}),
	Define(Documents, func(e engine.Recorded[events.DocumentDeleted]) DocumentDeleted {
		return DocumentDeleted{e.Stream.ID, e.Version, e.At}
	}),
}

// DocumentCreated says that there is a new document. What it says is read with its owner's rights, not from here.
type DocumentCreated struct {
	DocumentID  uuid.UUID `json:"document_id"`
	OwnerID     uuid.UUID `json:"owner_id"`
	ContentType string    `json:"content_type"`
	Version     int64     `json:"version"`
	At          time.Time `json:"at"`
}

// DocumentRevised says that a document was rewritten.
type DocumentRevised struct {
	DocumentID  uuid.UUID `json:"document_id"`
	OwnerID     uuid.UUID `json:"owner_id"`
	ContentType string    `json:"content_type"`
	Version     int64     `json:"version"`
	At          time.Time `json:"at"`
}

// DocumentArchived says that a document was put away.
type DocumentArchived struct {
	DocumentID uuid.UUID `json:"document_id"`
	Version    int64     `json:"version"`
	At         time.Time `json:"at"`
}

// DocumentRestored says that a document came back out of the archive.
type DocumentRestored struct {
	DocumentID uuid.UUID `json:"document_id"`
	Version    int64     `json:"version"`
	At         time.Time `json:"at"`
}

// DocumentDeleted says that a document is gone for good.
type DocumentDeleted struct {
	DocumentID uuid.UUID `json:"document_id"`
	Version    int64     `json:"version"`
	At         time.Time `json:"at"`
}

// Contract is "document.created.v1".
func (DocumentCreated) Contract() string { return "document.created.v1" }

// Contract is "document.revised.v1".
func (DocumentRevised) Contract() string { return "document.revised.v1" }

// Contract is "document.archived.v1".
func (DocumentArchived) Contract() string { return "document.archived.v1" }

// Contract is "document.restored.v1".
func (DocumentRestored) Contract() string { return "document.restored.v1" }

// Contract is "document.deleted.v1".
func (DocumentDeleted) Contract() string { return "document.deleted.v1" }
