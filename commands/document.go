package commands

import (
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of a document's rules.
var (
	ErrDocumentArchived = fault.New(fault.Conflict, "document_archived", "the document is archived; restore it first")
	ErrDocumentExists   = fault.New(fault.Conflict, "document_exists", "a document with this id exists")
	ErrDocumentTitle    = fault.New(fault.Invalid, "document_title_invalid", "the title must have 1 to 200 characters")
	ErrDocumentBody     = fault.New(fault.Invalid, "document_body_too_large", "the body may have up to 1 MiB")
	ErrDocumentTags     = fault.New(fault.Invalid, "document_tags_invalid", "there may be 20 tags of 1 to 50 characters each")
)

// Limits of a document.
const (
	maxTitleLength = 200     // characters
	maxBodyBytes   = 1 << 20 // of UTF-8
	maxTags        = 20
	maxTagLength   = 50 // characters
)

// Document decides what may happen to one document.
var Document = Decider[document, DocumentCommand, events.DocumentEvent]{
	Category: "document",
	Decide:   decideDocument,
	Evolve:   evolveDocument,
}

// document holds only what decisions need.
type document struct {
	owner    uuid.UUID // nil before it is created
	archived bool
	deleted  bool
}

// DocumentCommand is the closed set of what can be asked of a document.
type DocumentCommand interface{ documentCommand() }

// CreateDocument makes the document; whoever creates it owns it.
type CreateDocument struct {
	By          uuid.UUID
	Title       string
	Body        string
	ContentType string
	Tags        []string
}

// ReviseDocument replaces all that the document says.
type ReviseDocument struct {
	By          uuid.UUID
	Title       string
	Body        string
	ContentType string
	Tags        []string
}

// ArchiveDocument puts the document away. Archiving an archived document is a success.
type ArchiveDocument struct{ By uuid.UUID }

// RestoreDocument takes the document out of the archive. Restoring an active document is a success.
type RestoreDocument struct{ By uuid.UUID }

// DeleteDocument removes the document for good.
type DeleteDocument struct{ By uuid.UUID }

func (CreateDocument) documentCommand()  {}
func (ReviseDocument) documentCommand()  {}
func (ArchiveDocument) documentCommand() {}
func (RestoreDocument) documentCommand() {}
func (DeleteDocument) documentCommand()  {}

func decideDocument(d document, command DocumentCommand) ([]events.DocumentEvent, error) {
	switch c := command.(type) {
	case CreateDocument:
		return createDocument(d, c)
	case ReviseDocument:
		return reviseDocument(d, c)
	case ArchiveDocument:
		if err := d.ownedBy(c.By); err != nil || d.archived {
			return nil, err
		}
		return []events.DocumentEvent{events.DocumentArchived{OwnerID: d.owner}}, nil
	case RestoreDocument:
		if err := d.ownedBy(c.By); err != nil || !d.archived {
			return nil, err
		}
		return []events.DocumentEvent{events.DocumentRestored{OwnerID: d.owner}}, nil
	case DeleteDocument:
		if err := d.ownedBy(c.By); err != nil {
			return nil, err
		}
		return []events.DocumentEvent{events.DocumentDeleted{OwnerID: d.owner}}, nil
	}
	panic(fmt.Sprintf("document: command %T not decided", command))
}

// ownedBy holds that the document is there and the user's: to everybody else it does not exist.
func (d document) ownedBy(user uuid.UUID) error {
	if d.owner == uuid.Nil || d.deleted || d.owner != user {
		return ErrNotFound
	}
	return nil
}

func createDocument(d document, c CreateDocument) ([]events.DocumentEvent, error) {
	if d.owner != uuid.Nil {
		return nil, ErrDocumentExists
	}
	if err := checkContent(c.Title, c.Body, c.Tags); err != nil {
		return nil, err
	}
	return []events.DocumentEvent{events.DocumentCreated{
		OwnerID: c.By, Title: c.Title, Body: c.Body, ContentType: c.ContentType, Tags: c.Tags,
	}}, nil
}

func reviseDocument(d document, c ReviseDocument) ([]events.DocumentEvent, error) {
	if err := d.ownedBy(c.By); err != nil {
		return nil, err
	}
	if d.archived {
		return nil, ErrDocumentArchived
	}
	if err := checkContent(c.Title, c.Body, c.Tags); err != nil {
		return nil, err
	}
	return []events.DocumentEvent{events.DocumentRevised{
		OwnerID: d.owner, Title: c.Title, Body: c.Body, ContentType: c.ContentType, Tags: c.Tags,
	}}, nil
}

func checkContent(title, body string, tags []string) error {
	if n := utf8.RuneCountInString(title); n < 1 || n > maxTitleLength {
		return at(ErrDocumentTitle, "/title", "invalid")
	}
	if len(body) > maxBodyBytes {
		return at(ErrDocumentBody, "/body", "too_long")
	}
	if len(tags) > maxTags {
		return at(ErrDocumentTags, "/tags", "too_many")
	}
	for i, tag := range tags {
		if n := utf8.RuneCountInString(tag); n < 1 || n > maxTagLength {
			return at(ErrDocumentTags, fmt.Sprintf("/tags/%d", i), "invalid")
		}
	}
	return nil
}

// at returns the fault with the field that broke its rule.
func at(f *fault.Fault, pointer, code string) error {
	return f.At(fault.Field{Pointer: pointer, Code: code, Message: f.Sentence()})
}

func evolveDocument(d document, event events.DocumentEvent) document {
	switch e := event.(type) {
	case events.DocumentCreated:
		d.owner = e.OwnerID
	case events.DocumentRevised:
	case events.DocumentArchived:
		d.archived = true
	case events.DocumentRestored:
		d.archived = false
	case events.DocumentDeleted:
		d.deleted = true
	default:
		panic(fmt.Sprintf("document: event %T not evolved", event))
	}
	return d
}
