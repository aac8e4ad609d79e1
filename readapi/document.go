package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// documents registers the endpoints of documents.
func (s *Server) documents(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-documents", Method: http.MethodGet, Path: "/v1/documents", Tag: "Documents",
		Summary: "List your documents, newest first, without their bodies", Access: httpapi.Owner, Scope: "documents:read", Errors: readFaults(),
	}, func(ctx context.Context, in *listDocumentsRequest) (*documentList, error) {
		return s.listDocuments(ctx, cursors, in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "read-document", Method: http.MethodGet, Path: "/v1/documents/{id}", Tag: "Documents",
		Summary: "Read a document, as it is or as it was", Access: httpapi.Owner, Scope: "documents:read", Errors: readFaults(),
	}, s.readDocument)
	httpapi.Register(api, httpapi.Operation{
		ID: "read-document-history", Method: http.MethodGet, Path: "/v1/documents/{id}/history", Tag: "Documents",
		Summary:     "Read what happened to a document, oldest first",
		Description: "The owner may read the history of a deleted document too.",
		Access:      httpapi.Owner, Scope: "documents:read", Errors: readFaults(),
	}, func(ctx context.Context, in *documentHistoryRequest) (*documentHistory, error) {
		return s.documentHistory(ctx, cursors, in)
	})
}

// DocumentSummary is a document without its body. It is exported for the schema: Huma sees no other embedded struct.
type DocumentSummary struct {
	ID          uuid.UUID `json:"id"`
	Title       string    `json:"title"`
	ContentType string    `json:"content_type"`
	Tags        []string  `json:"tags" nullable:"false"`
	Status      string    `json:"status" enum:"active,archived"`
	OwnerID     uuid.UUID `json:"owner_id"`
	Version     int64     `json:"version"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

func summary(d projections.DocumentRow) DocumentSummary {
	return DocumentSummary{
		ID: d.ID, Title: d.Title, ContentType: d.ContentType, Tags: d.Tags, Status: d.Status,
		OwnerID: d.OwnerID, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

type listDocumentsRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
	Status string `query:"status" enum:"active,archived" doc:"Only documents of this status"`
}

type documentList struct {
	Stale
	Body httpapi.Page[DocumentSummary]
}

func (s *Server) listDocuments(ctx context.Context, cursors httpapi.Cursors, in *listDocumentsRequest) (*documentList, error) {
	owner, before := auth.User(ctx), uuid.Nil
	purpose := "documents/" + owner.String() + "/" + in.Status
	if in.Cursor != "" {
		var err error
		if before, err = httpapi.DecodeCursor[uuid.UUID](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, in.ReadAfter, projections.Documents.ID()); err != nil {
		return nil, err
	}
	stale, err := s.stale(ctx, projections.Documents.ID(), "")
	if err != nil {
		return nil, err
	}
	rows, err := s.Reader.DocumentsOf(ctx, owner, in.Status, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	summaries := make([]DocumentSummary, len(rows))
	for i, row := range rows {
		summaries[i] = summary(row)
	}
	next := func(last DocumentSummary) string { return httpapi.EncodeCursor(cursors, purpose, last.ID) }
	return &documentList{Stale: stale, Body: httpapi.NewPage(summaries, in.Limit, next)}, nil
}

type readDocumentRequest struct {
	httpapi.ReadAfter
	ID          uuid.UUID           `path:"id"`
	AsOf        asOf                `query:"as_of"`
	IfNoneMatch httpapi.IfNoneMatch `header:"If-None-Match"`
}

type document struct {
	Stale
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		DocumentSummary
		Body string `json:"body"`
	}
}

func (s *Server) readDocument(ctx context.Context, in *readDocumentRequest) (*document, error) {
	row, stale, err := s.documentRow(ctx, in)
	if err != nil {
		return nil, stale.missing(err)
	}
	out := &document{Stale: stale, ETag: httpapi.ETag(row.Version), CacheControl: "private, no-cache"}
	out.Body.DocumentSummary, out.Body.Body = summary(row), row.Body
	return out, nil
}

func (s *Server) documentRow(ctx context.Context, in *readDocumentRequest) (row projections.DocumentRow, stale Stale, err error) {
	if in.AsOf.given {
		row, err = s.documentAsOf(ctx, in)
		return row, stale, err
	}
	if err = s.await(ctx, in.ReadAfter, projections.Documents.ID()); err != nil {
		return row, stale, err
	}
	if stale, err = s.stale(ctx, projections.Documents.ID(), projections.Documents.Key(projections.DocumentRow{ID: in.ID})); err != nil {
		return row, stale, err
	}
	row, err = s.Reader.Document(ctx, auth.User(ctx), in.ID)
	return row, stale, err
}
