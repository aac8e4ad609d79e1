package recipe

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const page = "docs/aggregate.md"

var (
	fileStep = regexp.MustCompile("(?s)## [0-9]\\. `([a-z]+/note\\.go)`[^\n]*\n\n```go\n(.*?)```")
	lineStep = regexp.MustCompile("(?s)In `([a-z/]+\\.go)`, add to (?:the list in )?`([A-Za-z]+)`:\n\n```go\n(.*?)```")
)

// steps are the changes the page tells its reader to make: whole files, and lines in lists.
type steps struct {
	files map[string]string // path → text
	lines map[string]line   // path → what to add
}

type line struct{ function, text string }

func readSteps(t *testing.T, root string) steps {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	s := steps{files: map[string]string{}, lines: map[string]line{}}
	for _, m := range fileStep.FindAllStringSubmatch(string(raw), -1) {
		s.files[m[1]] = m[2]
	}
	for _, m := range lineStep.FindAllStringSubmatch(string(raw), -1) {
		s.lines[m[1]] = line{function: m[2], text: m[3]}
	}
	return s
}

func TestTheRecipeTouchesOneFileAndOneLinePerRoom(t *testing.T) {
	s := readSteps(t, "../..")
	rooms := map[string]bool{"events": true, "commands": true, "projections": true, "writeapi": true, "readapi": true}
	if len(s.files) != len(rooms) {
		t.Errorf("%d files, want one in each of the five rooms: %v", len(s.files), s.files)
	}
	for path := range s.files {
		if !rooms[filepath.Dir(path)] {
			t.Errorf("%s lies outside the rooms of an aggregate", path)
		}
	}
	for path, l := range s.lines {
		if !rooms[filepath.Dir(path)] || strings.Count(strings.TrimSpace(l.text), "\n") > 0 {
			t.Errorf("%s: more than a line in a room's list: %q", path, l.text)
		}
	}
}

// TestTheRecipeGivesAWorkingAggregate builds the tree with the page's changes laid over it, and uses the aggregate.
func TestTheRecipeGivesAWorkingAggregate(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "atlas")
	build := exec.Command("go", "build", "-buildvcs=false", "-overlay", layOver(t, root, readSteps(t, root)).save(t), "-o", binary, "./cmd/atlas")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the tree with the page's changes does not build: %v\n%s", err, out)
	}
	c := serve(t, binary)
	c.call("POST", "/v1/auth/register", `{"email":"ann@example.com","password":"correct horse battery staple","name":"Ann"}`, 202)
	c.token, _ = c.call("POST", "/v1/auth/login", `{"email":"ann@example.com","password":"correct horse battery staple"}`, 200)["access_token"].(string)

	written := c.call("POST", "/v1/notes", `{"text":"Call Ann"}`, 201)
	if got := c.notes(); len(got) != 1 || got[0] != "Call Ann" {
		t.Errorf("notes after writing one: %q", got)
	}
	c.call("DELETE", "/v1/notes/"+written["id"].(string), "", 204)
	if got := c.notes(); len(got) != 0 {
		t.Errorf("notes after striking it: %q", got)
	}
	c.call("DELETE", "/v1/notes/"+written["id"].(string), "", 404)
}

// overlay is a set of files as go's -overlay flag takes them.
type overlay struct {
	root, dir string
	Replace   map[string]string
}

func layOver(t *testing.T, root string, s steps) *overlay {
	t.Helper()
	o := &overlay{root: root, dir: t.TempDir(), Replace: map[string]string{}}
	for path, text := range s.files {
		o.add(t, path, text)
	}
	for path, l := range s.lines {
		o.add(t, path, insert(t, filepath.Join(root, path), l))
	}
	return o
}

// insert adds the line at the end of the list or function it belongs to.
func insert(t *testing.T, path string, l line) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	start := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + l.function + `\(`).FindStringIndex(text)
	if start == nil {
		t.Fatalf("%s has no function %s", path, l.function)
	}
	end := start[0] + strings.Index(text[start[0]:], "\n}\n")
	// A list ends before its own closing bracket, a function's statements before its brace.
	for _, bracket := range []string{"\n\t)", "\n\t}"} {
		if strings.HasSuffix(text[:end], bracket) {
			end -= len(bracket)
		}
	}
	return text[:end] + "\n" + strings.TrimSuffix(l.text, "\n") + text[end:]
}

func (o *overlay) add(t *testing.T, path, text string) {
	t.Helper()
	file := filepath.Join(o.dir, strings.ReplaceAll(path, "/", "__"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Replace[filepath.Join(o.root, path)] = file
}

func (o *overlay) save(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.dir, "overlay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
