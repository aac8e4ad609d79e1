package httpapi_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

func TestOperationAnswersWithBodyAndHeaders(t *testing.T) {
	t.Parallel()
	r := serve(t, echo).call(t, "POST /v1/documents", `{"title":"Plan","body":"<b>"}`, asAnn).want(t, 201)
	if r.body != `{"title":"Plan","body":"<b>"}`+"\n" {
		t.Errorf("body: got %s", r.body)
	}
	got := []string{r.header.Get("ETag"), r.header.Get("Location"), r.header.Get("Content-Type"), r.header.Get("Cache-Control")}
	if diff := cmp.Diff([]string{`"1"`, "/v1/documents/7", "application/json", "no-store"}, got); diff != "" {
		t.Error(diff)
	}
	if r.header.Get("Link") != "" || strings.Contains(r.body, "$schema") {
		t.Error("the answer links to a schema")
	}
}

func TestOperationSeesWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		httpapi.Register(api, httpapi.Operation{ID: "me", Method: "GET", Path: "/v1/me", Access: httpapi.SignedIn},
			func(ctx context.Context, _ *struct{}) (*struct{ Body string }, error) {
				return &struct{ Body string }{auth.User(ctx).String()}, nil
			})
	})
	r := s.call(t, "GET /v1/me", "", asAnn).want(t, 200)
	if want := `"` + ann.String() + "\"\n"; r.body != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
}

func TestIncompleteDeclarationPanics(t *testing.T) {
	t.Parallel()
	ok := httpapi.Operation{ID: "a", Method: "GET", Path: "/a", Access: httpapi.Anyone}
	for name, declare := range map[string]func() []httpapi.Operation{
		"no access": func() []httpapi.Operation { op := ok; op.Access = ""; return []httpapi.Operation{op} },
		"no id":     func() []httpapi.Operation { op := ok; op.ID = ""; return []httpapi.Operation{op} },
		"same id":   func() []httpapi.Operation { op := ok; op.Path = "/b"; return []httpapi.Operation{ok, op} },
		"same path": func() []httpapi.Operation { op := ok; op.ID = "b"; return []httpapi.Operation{ok, op} },
		"same code": func() []httpapi.Operation {
			op := ok
			op.Errors = []*fault.Fault{fault.New(fault.Conflict, "internal", "another meaning")}
			return []httpapi.Operation{op}
		},
		"no authenticator": func() []httpapi.Operation { op := ok; op.Access = httpapi.SignedIn; return []httpapi.Operation{op} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			api := httpapi.New(httpapi.Config{Title: "t", Version: "1"})
			for _, op := range declare() {
				httpapi.Register(api, op, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
			}
		})
	}
}

type hidden struct {
	Status string `json:"status" query:"status"`
}

func TestHiddenEmbeddedStructPanics(t *testing.T) {
	t.Parallel()
	type list struct {
		Data []struct{ hidden } `json:"data"`
	}
	for name, declare := range map[string]func(*httpapi.API){
		"parameters": get("/a", func(context.Context, *struct{ hidden }) (*struct{}, error) { return nil, nil }),
		"body":       get("/a", func(context.Context, *struct{}) (*struct{ Body struct{ hidden } }, error) { return nil, nil }),
		"in a list":  get("/a", func(context.Context, *struct{}) (*struct{ Body *list }, error) { return nil, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("did not panic: its fields are in no schema")
				}
			}()
			serve(t, declare)
		})
	}
}

func TestRoutesSayWhoMayCall(t *testing.T) {
	t.Parallel()
	got := serve(t, guarded).Routes()
	for _, want := range []string{"POST /anyone anyone", "POST /user signed_in", "POST /admin admin", "GET /docs anyone", "HEAD /docs anyone"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q among %q", want, got)
		}
	}
}

func TestPlainRouteBringsItsFaultsAlong(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		api.Handle("/probe", "GET", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { httpapi.Problem(w, r, errArchived) }), errArchived)
	})
	s.call(t, "GET "+s.call(t, "GET /probe", "").problem(t, 409, "document_archived").Type, "").want(t, 200)
}
