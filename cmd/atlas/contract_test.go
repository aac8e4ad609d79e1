package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds text against a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-released +now); what is released stays as it is, what is new is written with -update:\n%s", path, diff)
	}
}

// Codes are API: programs tell failures apart by them. One that is gone, or means something else, breaks them.
func TestErrorCatalogueIsGolden(t *testing.T) {
	t.Parallel()
	all := serveApp(t).api.Catalogue()
	slices.SortFunc(all, func(a, b *fault.Fault) int {
		return cmp.Or(cmp.Compare(httpapi.Status(a.Kind()), httpapi.Status(b.Kind())), cmp.Compare(a.Code(), b.Code()))
	})
	var text strings.Builder
	for _, f := range all {
		fmt.Fprintf(&text, "%d %s: %s\n", httpapi.Status(f.Kind()), f.Code(), f.Sentence())
	}
	golden(t, "errors.golden", text.String())
}

func TestRouteListIsGolden(t *testing.T) {
	t.Parallel()
	golden(t, "routes.golden", strings.Join(serveApp(t).api.Routes(), "\n")+"\n")
}

func TestOpenAPIDocumentSaysWhatIsServed(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	if !strings.Contains(s.spec.Text, `"openapi":"3.1`) {
		t.Error("it is not OpenAPI 3.1")
	}
	if alien := regexp.MustCompile(`ErrorModel|ErrorDetail|\$schema`).FindString(s.spec.Text); alien != "" {
		t.Errorf("it mentions %s", alien)
	}
	routes := s.api.Routes()
	for _, op := range s.spec.Operations {
		i := slices.IndexFunc(routes, func(r string) bool { return strings.HasPrefix(r, op.Method+" "+op.Path+" ") })
		if i < 0 {
			t.Errorf("%s %s is in the document and not served", op.Method, op.Path)
			continue
		}
		access := strings.Fields(routes[i])[2:]
		if op.Access.Who != access[0] || op.SignedIn != (access[0] != string(httpapi.Anyone)) {
			t.Errorf("%s is for %q, documented as for %+v, and asks for a token: %t", op.ID, access, op.Access, op.SignedIn)
		}
	}
	for _, route := range routes {
		fields := strings.Fields(route)
		if _, known := s.spec.Operation(fields[0], fields[1]); !known && fields[0] != "HEAD" && strings.HasPrefix(fields[1], "/v1/") {
			t.Errorf("%s is served and not in the document", route)
		}
	}
}

func TestOpenAPIDocumentRefersOnlyToWhatItHolds(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	refs := regexp.MustCompile(`"\$ref":"([^"]+)"`).FindAllStringSubmatch(s.spec.Text, -1)
	if len(refs) == 0 {
		t.Error("it refers to nothing")
	}
	for _, m := range refs {
		if !s.spec.Holds(m[1]) {
			t.Errorf("nothing is at %s", m[1])
		}
	}
}

func TestDocsLoadNothingFromOutside(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	page := s.must(t, 200, "GET /docs", "")
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body, -1)
	for _, m := range links {
		switch {
		case strings.HasPrefix(m[1], "data:"):
		case !strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "//"):
			t.Errorf("the page loads %s", m[1])
		default:
			s.must(t, 200, "GET "+m[1], "")
		}
	}
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
		t.Errorf("Content-Security-Policy: got %q", policy)
	}
}

// Every problem names a page that explains it.
func TestEveryErrorHasAPage(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	for _, f := range s.api.Catalogue() {
		if page := s.must(t, 200, "GET /errors/"+f.Code(), ""); !strings.Contains(page.Body, f.Code()) {
			t.Errorf("/errors/%s does not name its code", f.Code())
		}
	}
}
