package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/atlas-platform/atlas/"

// A room is a part of the tree whose packages obey one rule. Packages and imports are named by patterns: "internal/..."
// is internal and all below it, "eventstore" is that package alone, "example.org/kit..." is all that begins so.
type room struct {
	packages string
	may      []string // what it may import of ours, beside itself
	mustNot  []string // what it must not import of others'
	why      string
}

// rooms is the table of who may import whom. A package belongs to the first room that matches.
var rooms = []room{
	{
		packages: "events/...",
		mustNot:  []string{"github.com/jackc/pgx...", "database/sql/...", "net/http/...", "github.com/ThreeDotsLabs/watermill..."},
		why:      "events are the vocabulary every room shares; they outlive whatever stores and carries them",
	},
	{
		packages: "eventstore",
		may:      []string{"events/...", "internal/postgres/...", "internal/fault", "internal/wait"},
		mustNot:  []string{"net/http/..."},
		why:      "the log's core must not depend on what stands on it, nor know what an event means",
	},
	{
		packages: "eventstore/...",
		may:      []string{"events/...", "eventstore/...", "internal/..."},
		mustNot:  []string{"net/http/..."},
		why:      "what stands on the log knows the log and not those who use it",
	},
	{
		packages: "commands/...",
		may:      []string{"events/...", "eventstore", "internal/fault"},
		mustNot: []string{
			"github.com/jackc/pgx...", "database/sql/...", "net/http/...", "github.com/ThreeDotsLabs/watermill...",
			"crypto/rand", "math/rand", // math/rand/v2 is the handler's, for jitter between tries
		},
		why: "a decision is a pure function of the stream and the command; time, ids and secrets arrive in the command",
	},
	{
		packages: "projections/...",
		may:      []string{"events/...", "eventstore/...", "internal/..."},
		mustNot:  []string{"net/http/...", "github.com/danielgtaylor/huma..."},
		why:      "a read table is rebuilt from the log alone, whoever wrote it and whoever reads it",
	},
	{
		packages: "writeapi/...",
		may:      []string{"commands/...", "eventstore/...", "internal/..."},
		mustNot:  []string{"github.com/jackc/pgx...", "database/sql/..."},
		why:      "a write is decided on the log, never on a read table or by SQL of its own",
	},
	{
		packages: "readapi/...",
		may:      []string{"projections/...", "eventstore/...", "internal/..."},
		why:      "a query shows what was projected and changes nothing",
	},
	{
		packages: "workers/...",
		may:      []string{"events/...", "eventstore/...", "commands/...", "projections/engine/...", "internal/..."},
		why:      "a worker reacts to the log and acts by commands; it runs where no API does",
	},
	{
		packages: "internal/...",
		why:      "what every room stands on knows none of them, nor any rule of the domain",
	},
	{packages: "cmd/...", may: []string{"..."}, why: "the wiring sees everything"},
	{packages: "docs/...", may: []string{"..."}, why: "an example stands outside, like a user's program"},
}

// topLevel is what the repository's first listing may show, beside dotfiles and what a build leaves.
var topLevel = []string{
	"commands", "events", "projections", "readapi", "writeapi", "eventstore", "cmd", "deploy", "go.mod", "go.sum",
	"README.md", "internal", "workers", "docs", "Makefile", "LICENSE", "CHANGELOG.md", "bin", "*.test", "*.out",
}

// vague are names that say a package is useful instead of what for.
var vague = []string{"util", "utils", "helper", "helpers", "common", "base", "misc", "shared"}

// check returns what is wrong with a package, by its path in the module, that imports these paths.
func check(pkg string, imports []string) (broken []string) {
	if slices.Contains(vague, path.Base(pkg)) {
		broken = append(broken, pkg+" is named for being useful: a name says what the package holds")
	}
	if strings.HasSuffix(pkg, "test") {
		return broken
	}
	at := slices.IndexFunc(rooms, func(r room) bool { return matches(r.packages, pkg) })
	if at < 0 {
		return append(broken, pkg+" is in no room: put it into one, or give the table a room and a reason")
	}
	r := rooms[at]
	for _, imp := range imports {
		if !r.allows(imp) {
			broken = append(broken, pkg+" imports "+imp+": "+r.packages+" must not, because "+r.why)
		}
	}
	return broken
}

func (r room) allows(imp string) bool {
	ours, isOurs := strings.CutPrefix(imp, module)
	if !isOurs {
		return !matchesAny(r.mustNot, imp)
	}
	return matches(r.packages, ours) || matchesAny(r.may, ours)
}

func matchesAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, p) })
}

// matches reads a pattern as the go command does.
func matches(pattern, p string) bool {
	prefix, open := strings.CutSuffix(pattern, "...")
	return p == strings.TrimSuffix(prefix, "/") || open && strings.HasPrefix(p, prefix)
}

func TestEveryPackageKeepsToItsRoom(t *testing.T) {
	t.Parallel()
	for pkg, files := range packages(t) {
		for _, broken := range check(pkg, importsOf(t, files)) {
			t.Error(broken)
		}
	}
}

func TestEveryPackageStatesItsPromises(t *testing.T) {
	t.Parallel()
	for pkg, files := range packages(t) {
		doc := slices.IndexFunc(files, func(name string) bool { return filepath.Base(name) == "doc.go" })
		if doc < 0 {
			t.Errorf("%s has no doc.go: a package states its promises and how it fails", pkg)
			continue
		}
		file := parse(t, files[doc])
		want := "Package " + file.Name.Name + " "
		if got := file.Doc.Text(); got == "" || file.Name.Name != "main" && !strings.HasPrefix(got, want) {
			t.Errorf("%s/doc.go: its package comment begins %.40q, want %q", pkg, got, want)
		}
	}
}

func TestTopLevelShowsOnlyTheRooms(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		known := slices.ContainsFunc(topLevel, func(pattern string) bool { ok, _ := path.Match(pattern, e.Name()); return ok })
		if !known && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is at the top level, which shows the rooms and nothing else", e.Name())
		}
	}
}

func TestRulesRefuseWhatTheyName(t *testing.T) {
	t.Parallel()
	const pgx, watermill = "github.com/jackc/pgx/v5/pgxpool", "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	for _, c := range []struct {
		pkg, imp string
		refused  bool
	}{
		{"events", module + "internal/fault", true},
		{"events", pgx, true},
		{"events", "net/http", true},
		{"events", watermill, true},
		{"events", "github.com/google/uuid", false},
		{"eventstore", module + "events", false},
		{"eventstore", module + "internal/postgres", false},
		{"eventstore", pgx, false},
		{"eventstore", module + "eventstore/sealing", true},
		{"eventstore", module + "internal/auth", true},
		{"eventstore", module + "internal/wait", false},
		{"eventstore", module + "commands", true},
		{"eventstore/sealing", module + "eventstore", false},
		{"eventstore/subscription", watermill, false},
		{"eventstore/subscription", module + "workers", true},
		{"commands", module + "events", false},
		{"commands", module + "eventstore", false},
		{"commands", module + "eventstore/sealing", true},
		{"commands", module + "internal/fault", false},
		{"commands", module + "internal/auth", true},
		{"commands", module + "projections", true},
		{"commands", pgx, true},
		{"commands", "net/http", true},
		{"commands", "database/sql", true},
		{"commands", "crypto/rand", true},
		{"commands", "math/rand", true},
		{"commands", "math/rand/v2", false},
		{"projections", module + "projections/engine", false},
		{"projections", module + "events", false},
		{"projections/engine", pgx, false},
		{"projections/engine", module + "commands", true},
		{"projections", module + "readapi", true},
		{"projections", module + "writeapi", true},
		{"projections", "net/http/httptest", true},
		{"writeapi", module + "commands", false},
		{"writeapi", module + "internal/httpapi", false},
		{"writeapi", module + "events", true},
		{"writeapi", module + "projections", true},
		{"writeapi", pgx, true},
		{"readapi", module + "projections/engine", false},
		{"readapi", module + "commands", true},
		{"readapi", module + "writeapi", true},
		{"workers/outbox", module + "projections/engine", false},
		{"workers/outbox", module + "projections", true},
		{"workers/outbox", module + "workers", false},
		{"workers/outbox", watermill, false},
		{"workers", module + "commands", false},
		{"workers", module + "writeapi", true},
		{"workers", module + "readapi", true},
		{"internal/auth", module + "internal/fault", false},
		{"internal/auth", module + "events", true},
		{"internal/apitest", module + "events", false},
		{"cmd/atlas", module + "workers/outbox", false},
		{"cmd/atlas", pgx, false},
		{"billing", "fmt", true},
		{"internal/util", "fmt", true},
	} {
		if got := len(check(c.pkg, []string{c.imp})) > 0; got != c.refused {
			t.Errorf("%s imports %s: refused = %t, want %t", c.pkg, c.imp, got, c.refused)
		}
	}
}

func TestRefusalNamesTheRuleAndItsReason(t *testing.T) {
	t.Parallel()
	got := check("commands", []string{"net/http"})
	want := "commands imports net/http: commands/... must not, because a decision is a pure function"
	if len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got %q, want one that begins %q", got, want)
	}
}

// root is the repository's, seen from this package.
const root = "../.."

// packages returns the Go files that are no tests, by their package's path in the module.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch base := e.Name(); {
		case e.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin"):
			return fs.SkipDir
		case err != nil:
			return err
		case !e.IsDir() && strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go"):
			rel, err := filepath.Rel(root, filepath.Dir(name))
			found[filepath.ToSlash(rel)] = append(found[filepath.ToSlash(rel)], name)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := found["internal/rooms"]; !ok {
		t.Fatal("the tree does not hold this package: it was read from the wrong place")
	}
	return found
}

func importsOf(t *testing.T, files []string) (imports []string) {
	t.Helper()
	for _, name := range files {
		for _, spec := range parse(t, name).Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports = append(imports, imp)
		}
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
