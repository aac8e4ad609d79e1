package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// reviseRequest is the input: a path parameter, a precondition and a body.
type reviseRequest struct {
	ID      uuid.UUID       `path:"id"`
	IfMatch httpapi.IfMatch `header:"If-Match"`
	Body    struct {
		Title string   `json:"title" minLength:"1" maxLength:"200"`
		Tags  []string `json:"tags,omitempty" maxItems:"20" nullable:"false"`
	}
}

// written is the output: headers and a body.
type written struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Position int64  `header:"Atlas-Position"`
	Body     struct {
		ID      uuid.UUID `json:"id"`
		Version int64     `json:"version"`
	}
}

func ExampleRegister() {
	api := httpapi.New(httpapi.Config{Title: "Atlas", Version: "1", Authenticator: tokens{}, Logger: slog.New(slog.DiscardHandler)})
	httpapi.Register(api, httpapi.Operation{
		ID: "revise-document", Method: http.MethodPut, Path: "/v1/documents/{id}", Summary: "Revise a document", Tag: "documents",
		Access: httpapi.SignedIn, MaxBody: 6<<20 + 64<<10, Errors: []*fault.Fault{httpapi.ErrNotFound, errArchived},
	}, func(_ context.Context, in *reviseRequest) (*written, error) {
		expected, given := in.IfMatch.Version()
		if given && expected != 1 {
			return nil, errArchived
		}
		out := &written{ETag: httpapi.ETag(2), Location: "/v1/documents/" + in.ID.String(), Position: 9}
		out.Body.ID, out.Body.Version = in.ID, 2
		return out, nil
	})

	r := httptest.NewRequest("PUT", "/v1/documents/0190c0de-0000-7000-8000-000000000001", strings.NewReader(`{"title":"Plan"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer ann")
	r.Header.Set("If-Match", `"1"`)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("ETag"), w.Header().Get("Atlas-Position"))
	// Output: 200 "2" 9
}
