package httpapi_test

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// spec reads the OpenAPI document.
func (s server) spec(t *testing.T) map[string]any {
	t.Helper()
	r := s.call(t, "GET /openapi.json", "").want(t, 200)
	var doc map[string]any
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// dig walks down a document.
func dig(t *testing.T, doc any, path ...string) any {
	t.Helper()
	for _, name := range path {
		m, ok := doc.(map[string]any)
		if !ok || m[name] == nil {
			t.Fatalf("no %s of %v", name, path)
		}
		doc = m[name]
	}
	return doc
}

func TestSpecListsEveryCodeOfAnOperation(t *testing.T) {
	t.Parallel()
	doc := serve(t, echo).spec(t)
	if !strings.HasPrefix(doc["openapi"].(string), "3.1") {
		t.Errorf("openapi: %v", doc["openapi"])
	}
	responses := dig(t, doc, "paths", "/v1/documents", "post", "responses").(map[string]any)
	code := regexp.MustCompile("- `([a-z_]+)`")
	got := map[string][]string{}
	for status, r := range responses {
		for _, m := range code.FindAllStringSubmatch(dig(t, r, "description").(string), -1) {
			got[status] = append(got[status], m[1])
		}
		if status != "201" {
			if ref := dig(t, r, "content", "application/problem+json", "schema", "$ref"); ref != "#/components/schemas/Problem" {
				t.Errorf("%s: %v", status, ref)
			}
		}
	}
	want := map[string][]string{
		"400": {"incomplete_body", "invalid_parameter", "malformed_json"}, "401": {"token_invalid", "unauthenticated"}, "403": {"permission_denied"}, "406": {"not_acceptable"},
		"409": {"document_archived"}, "413": {"body_too_large"}, "415": {"unsupported_media_type"}, "422": {"validation_failed"},
		"500": {"internal"}, "503": {"busy", "part_detached", "timeout", "written_by_newer_release"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSpecSaysWhoMayCall(t *testing.T) {
	t.Parallel()
	doc := serve(t, guarded).spec(t)
	dig(t, doc, "components", "securitySchemes", "bearer")
	if _, asked := dig(t, doc, "paths", "/anyone", "post").(map[string]any)["security"]; asked {
		t.Error("/anyone asks for a token")
	}
	dig(t, doc, "paths", "/user", "post", "security")
	if d := dig(t, doc, "paths", "/admin", "post", "description").(string); !strings.Contains(d, "Access: admins") {
		t.Errorf("got %q", d)
	}
}

func TestSpecKnowsNothingOfHumasErrors(t *testing.T) {
	t.Parallel()
	r := serve(t, listing).call(t, "GET /openapi.json", "").want(t, 200)
	for _, alien := range []string{"ErrorModel", "ErrorDetail", "$schema"} {
		if strings.Contains(r.body, alien) {
			t.Errorf("mentions %s", alien)
		}
	}
}

func TestSpecRefersOnlyToWhatItHolds(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) { echo(api); listing(api); versioned(api) })
	schemas := dig(t, s.spec(t), "components", "schemas").(map[string]any)
	body := s.call(t, "GET /openapi.json", "").body
	for _, m := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(body, -1) {
		if schemas[m[1]] == nil {
			t.Errorf("no schema %s", m[1])
		}
	}
}

func TestTwoTypesMayShareAName(t *testing.T) {
	t.Parallel()
	type problem struct {
		Mine string `json:"mine"`
	}
	s := serve(t, get("/v1/p", func(context.Context, *struct{}) (*struct{ Body problem }, error) {
		return &struct{ Body problem }{}, nil
	}))
	schemas := dig(t, s.spec(t), "components", "schemas").(map[string]any)
	if schemas["Problem"] == nil || schemas["Httpapi_testProblem"] == nil {
		t.Errorf("got %v", schemas)
	}
}

func TestOwnErrorDetailIsKept(t *testing.T) {
	t.Parallel()
	type ErrorDetail struct {
		Mine string `json:"mine"`
	}
	s := serve(t, get("/v1/p", func(context.Context, *struct{}) (*struct{ Body ErrorDetail }, error) {
		return &struct{ Body ErrorDetail }{}, nil
	}))
	schemas := dig(t, s.spec(t), "components", "schemas").(map[string]any)
	if schemas["Httpapi_testErrorDetail"] == nil || schemas["ErrorDetail"] != nil {
		t.Errorf("got %v", schemas)
	}
}

// outside matches what a page would load from elsewhere.
var outside = regexp.MustCompile(`(?i)(src|href|action|url)\s*[=(]\s*["']?\s*(https?:)?//`)

func TestDocsLoadNothingFromOutside(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	page := s.call(t, "GET /docs", "").want(t, 200)
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(links) < 4 {
		t.Fatalf("got %v", links)
	}
	for _, m := range links {
		if strings.HasPrefix(m[1], "data:") {
			continue
		}
		asset := s.call(t, "GET "+m[1], "", "Accept-Encoding: identity").want(t, 200)
		if strings.HasSuffix(m[1], ".css") && outside.MatchString(asset.body) {
			t.Errorf("%s loads from outside", m[1])
		}
		if len(asset.body) == 0 || asset.header.Get("Content-Type") == "" {
			t.Errorf("%s: %v", m[1], asset.header)
		}
	}
	if outside.MatchString(page.body) || strings.Contains(page.body, "<script>") {
		t.Errorf("got %s", page.body)
	}
	if start := s.call(t, "GET /docs/start.js", ""); !strings.Contains(start.body, "validatorUrl: null") {
		t.Error("the document's address is sent to a validator")
	}
}

func TestDocsMayNotLoadFromOutside(t *testing.T) {
	t.Parallel()
	policy := serve(t, nil).call(t, "GET /docs", "").header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !slices.Contains(strings.Split(policy, "; "), part) {
			t.Errorf("no %s in %s", part, policy)
		}
	}
}

func TestDocsAssetIsServedCompressedToThoseWhoTakeIt(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	r := s.call(t, "GET /docs/swagger-ui.css", "", "Accept-Encoding: gzip").want(t, 200)
	if r.header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(r.body, "\x1f\x8b") {
		t.Errorf("got %v", r.header)
	}
	for _, path := range []string{"/docs/nothing.js", "/docs/..", "/docs/%2e%2e%2fdoc.go", "/docs/.gz", "/docs/"} {
		s.call(t, "GET "+path, "").problem(t, 404, "not_found")
	}
}

func TestEveryCodeHasAPage(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	for _, f := range s.Catalogue() {
		r := s.call(t, "GET /errors/"+f.Code(), "").want(t, 200)
		if ct := r.header.Get("Content-Type"); ct != "text/html; charset=utf-8" || !strings.Contains(r.body, f.Code()) {
			t.Errorf("%s: %s %s", f.Code(), ct, r.body)
		}
	}
	s.call(t, "GET /errors/no_such_code", "").problem(t, 404, "not_found")
}

func TestCatalogueIsTheSortedUnion(t *testing.T) {
	t.Parallel()
	var codes []string
	for _, f := range serve(t, echo).Catalogue() {
		codes = append(codes, f.Code())
	}
	want := []string{
		"body_too_large", "busy", "document_archived", "draining", "incomplete_body", "internal", "invalid_parameter", "malformed_json", "method_not_allowed",
		"not_acceptable", "not_found", "part_detached", "permission_denied", "scope_missing", "step_up_required", "timeout", "token_invalid", "unauthenticated", "unsupported_media_type", "validation_failed",
		"written_by_newer_release",
	}
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Error(diff)
	}
}

func TestOneFaultMayBelongToManyOperations(t *testing.T) {
	t.Parallel()
	serve(t, func(api *httpapi.API) {
		for _, id := range []string{"a", "b"} {
			httpapi.Register(api, httpapi.Operation{
				ID: id, Method: "GET", Path: "/" + id, Access: httpapi.Anyone, Errors: []*fault.Fault{errArchived, httpapi.ErrNotFound},
			}, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		}
	})
}
