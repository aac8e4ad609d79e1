package writeapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// maxDocumentRequest is what a body of 1 MiB may take once every character of it is escaped in JSON, and then some.
const maxDocumentRequest = 6<<20 + 64<<10

// documents registers the endpoints of documents.
func (s *Server) documents(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "create-document", Method: http.MethodPost, Path: "/v1/documents", Tag: "Documents",
		Summary: "Create a document", Access: httpapi.SignedIn, Scope: "documents:write", Status: http.StatusCreated, MaxBody: maxDocumentRequest,
		Errors: append(documentFaults(), commands.ErrDocumentExists),
	}, s.createDocument)
	httpapi.Register(api, httpapi.Operation{
		ID: "revise-document", Method: http.MethodPut, Path: "/v1/documents/{id}", Tag: "Documents",
		Summary: "Replace what a document says", Access: httpapi.Owner, Scope: "documents:write", MaxBody: maxDocumentRequest,
		Errors: append(documentFaults(), commands.ErrDocumentArchived),
	}, s.reviseDocument)
	httpapi.Register(api, httpapi.Operation{
		ID: "archive-document", Method: http.MethodPost, Path: "/v1/documents/{id}/archive", Tag: "Documents",
		Summary: "Put a document away", Access: httpapi.Owner, Scope: "documents:write", Errors: writeFaults(),
	}, s.archiveDocument)
	httpapi.Register(api, httpapi.Operation{
		ID: "restore-document", Method: http.MethodPost, Path: "/v1/documents/{id}/restore", Tag: "Documents",
		Summary: "Take a document out of the archive", Access: httpapi.Owner, Scope: "documents:write", Errors: writeFaults(),
	}, s.restoreDocument)
	httpapi.Register(api, httpapi.Operation{
		ID: "delete-document", Method: http.MethodDelete, Path: "/v1/documents/{id}", Tag: "Documents",
		Summary: "Delete a document for good", Access: httpapi.Owner, Scope: "documents:write", Errors: writeFaults(),
	}, s.deleteDocument)
}

// documentFaults is what writing a document's content may meet.
func documentFaults() []*fault.Fault {
	return append(writeFaults(), commands.ErrDocumentTitle, commands.ErrDocumentBody, commands.ErrDocumentTags)
}

// writeFaults is what any write to something that exists may meet.
func writeFaults() []*fault.Fault {
	return []*fault.Fault{
		commands.ErrNotFound, commands.ErrVersionMismatch, commands.ErrContended,
		eventstore.ErrCommandReused, eventstore.ErrOutcomeUnknown, eventstore.ErrImporting, eventstore.ErrUnavailable, eventstore.ErrData,
	}
}

// documentContent is what a document says.
type documentContent struct {
	Title       string   `json:"title" minLength:"1" maxLength:"200"`
	Body        string   `json:"body" maxLength:"1048576" doc:"Up to 1 MiB of UTF-8"`
	ContentType string   `json:"content_type,omitempty" enum:"text/markdown,text/plain,text/html" default:"text/markdown"`
	Tags        []string `json:"tags,omitempty" maxItems:"20" minLength:"1" maxLength:"50"`
}

type createDocumentRequest struct {
	Body documentContent
}

func (s *Server) createDocument(ctx context.Context, in *createDocumentRequest) (*written, error) {
	c := in.Body
	create := commands.CreateDocument{By: auth.User(ctx), Title: c.Title, Body: c.Body, ContentType: c.ContentType, Tags: c.Tags}
	o, err := s.handle(ctx, commands.Document.On(newID(), create), httpapi.IfMatch{})
	if err != nil {
		return nil, err
	}
	w := answer(o, commands.Document.Category)
	w.Location = "/v1/documents/" + w.Body.ID.String()
	return w, nil
}

// documentRequest names a document and, perhaps, the version it must be at.
type documentRequest struct {
	ID      uuid.UUID       `path:"id"`
	IfMatch httpapi.IfMatch `header:"If-Match"`
}

type reviseDocumentRequest struct {
	ID      uuid.UUID       `path:"id"`
	IfMatch httpapi.IfMatch `header:"If-Match"`
	Body    documentContent
}

func (s *Server) reviseDocument(ctx context.Context, in *reviseDocumentRequest) (*written, error) {
	c := in.Body
	return s.changeDocument(ctx, documentRequest{ID: in.ID, IfMatch: in.IfMatch},
		commands.ReviseDocument{By: auth.User(ctx), Title: c.Title, Body: c.Body, ContentType: c.ContentType, Tags: c.Tags})
}

func (s *Server) archiveDocument(ctx context.Context, in *documentRequest) (*written, error) {
	return s.changeDocument(ctx, *in, commands.ArchiveDocument{By: auth.User(ctx)})
}

func (s *Server) restoreDocument(ctx context.Context, in *documentRequest) (*written, error) {
	return s.changeDocument(ctx, *in, commands.RestoreDocument{By: auth.User(ctx)})
}

func (s *Server) changeDocument(ctx context.Context, in documentRequest, command commands.DocumentCommand) (*written, error) {
	o, err := s.handle(ctx, commands.Document.On(in.ID, command), in.IfMatch)
	if err != nil {
		return nil, err
	}
	return answer(o, commands.Document.Category), nil
}

func (s *Server) deleteDocument(ctx context.Context, in *documentRequest) (*removed, error) {
	o, err := s.handle(ctx, commands.Document.On(in.ID, commands.DeleteDocument{By: auth.User(ctx)}), in.IfMatch)
	if err != nil {
		return nil, err
	}
	return &removed{Position: position(o), Replayed: replayed(o)}, nil
}
