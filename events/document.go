package events

import "github.com/google/uuid"

// DocumentEvent is the closed set of facts a document's stream may hold.
type DocumentEvent interface{ document() }

// Document lists the document events in the order they happen.
var Document = []Type{
	Define[DocumentCreated]("document.created"),
	Define[DocumentRevised]("document.revised"),
	Define[DocumentArchived]("document.archived"),
	Define[DocumentRestored]("document.restored"),
	Define[DocumentDeleted]("document.deleted"),
}

// DocumentCreated starts a document's stream.
type DocumentCreated struct {
	OwnerID     uuid.UUID `json:"owner_id"     pii:"subject"` // whose key seals the sealed fields
	Title       string    `json:"title"        pii:"seal"`
	Body        string    `json:"body"         pii:"seal"`
	ContentType string    `json:"content_type"`
	Tags        []string  `json:"tags"         pii:"seal"`
}

// DocumentRevised replaces what a document says.
type DocumentRevised struct {
	OwnerID     uuid.UUID `json:"owner_id"     pii:"subject"`
	Title       string    `json:"title"        pii:"seal"`
	Body        string    `json:"body"         pii:"seal"`
	ContentType string    `json:"content_type"`
	Tags        []string  `json:"tags"         pii:"seal"`
}

// DocumentArchived puts the document away; it can be read but not revised.
type DocumentArchived struct {
	OwnerID uuid.UUID `json:"owner_id" pii:"subject"` // whom it is about, though nothing in it is sealed
}

// DocumentRestored takes the document out of the archive.
type DocumentRestored struct {
	OwnerID uuid.UUID `json:"owner_id" pii:"subject"`
}

// DocumentDeleted removes the document for good; its history stays readable to its owner.
type DocumentDeleted struct {
	OwnerID uuid.UUID `json:"owner_id" pii:"subject"`
}

func (DocumentCreated) document()  {}
func (DocumentRevised) document()  {}
func (DocumentArchived) document() {}
func (DocumentRestored) document() {}
func (DocumentDeleted) document()  {}
