package recipe

import (
	"encoding/json"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const page = "docs/aggregate.md"

var (
	fileStep   = regexp.MustCompile("(?s)## [0-9]\\. `([a-z]+/note\\.go)`[^\n]*\n\n```go\n(.*?)```")
	testStep   = regexp.MustCompile("(?s)in `(projections/note_test\\.go)`:[^`]*```go\n(.*?)```")
	sampleStep = regexp.MustCompile("(?s)in `events/(testdata/[a-z.0-9]+\\.json)` and\\s`events/(testdata/[a-z.0-9]+\\.json)`.*?```json\n(.*?)```\\s+```json\n(.*?)```")
	lineStep   = regexp.MustCompile("(?s)In\\s`([a-z/_]+\\.go)`, add to (?:the list in )?`([A-Za-z]+)`:\n\n```go\n(.*?)```")
	command    = regexp.MustCompile("(?m)^bin/atlas ([^#\n]+)")
)

// steps are the changes the page tells its reader to make: whole files, and lines in lists; and the commands it gives.
type steps struct {
	files    map[string]string // path → text
	test     map[string]string // likewise, of the tests it writes out
	samples  map[string]string // likewise, below events
	lines    map[string]line   // path → what to add
	commands [][]string        // arguments of atlas
}

type line struct{ function, text string }

func readSteps(t *testing.T, root string) steps {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	s := steps{files: map[string]string{}, test: map[string]string{}, samples: map[string]string{}, lines: map[string]line{}}
	for _, m := range testStep.FindAllStringSubmatch(string(raw), -1) {
		s.test[m[1]] = m[2]
	}
	for _, m := range sampleStep.FindAllStringSubmatch(string(raw), -1) {
		s.samples[m[1]], s.samples[m[2]] = m[3], m[4]
	}
	for _, m := range command.FindAllStringSubmatch(string(raw), -1) {
		s.commands = append(s.commands, strings.Fields(m[1]))
	}
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
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if !rooms[filepath.Dir(path)] || strings.Count(strings.TrimSpace(l.text), "\n") > 0 {
			t.Errorf("%s: more than a line in a room's list: %q", path, l.text)
		}
	}
}

// TestTheRecipeGivesAWorkingAggregate builds the tree with the page's changes laid over it, and uses the aggregate and its
// read table.
func TestTheRecipeGivesAWorkingAggregate(t *testing.T) {
	root, steps := rooted(t)
	binary := filepath.Join(t.TempDir(), "atlas")
	goRun(t, root, "build", "-buildvcs=false", inHaste, "-ldflags=-s -w", "-overlay", layOver(t, root, steps).save(t), "-o", binary, "./cmd/atlas")
	c := serve(t, binary)
	c.call("POST", "/v1/auth/register", `{"email":"ann@example.com","password":"correct horse battery staple","name":"Ann"}`, 202)
	c.token, _ = c.call("POST", "/v1/auth/login", `{"email":"ann@example.com","password":"correct horse battery staple"}`, 200)["access_token"].(string)

	written := c.call("POST", "/v1/notes", `{"text":"Call Ann"}`, 201)
	c.requireNotes("after writing one", "Call Ann")
	if len(steps.commands) < 3 {
		t.Errorf("the page gives the commands %v, want those that list, verify and rebuild", steps.commands)
	}
	for _, command := range steps.commands {
		c.atlas(command...)
	}
	c.requireNotes("after a rebuild", "Call Ann")
	if listed := c.atlas("projections", "list"); !regexp.MustCompile(`(?m)^notes +1 +2 `).MatchString(listed) {
		t.Errorf("the list after a rebuild shows no generation 2 of notes:\n%s", listed)
	}
	if verified := c.atlas("projections", "verify", "notes", "--all"); !strings.Contains(verified, "1 row") {
		t.Errorf("verified other than one row: %s", verified)
	}
	c.call("DELETE", "/v1/notes/"+written["id"].(string), "", 204)
	c.requireNotes("after striking it")
	c.call("DELETE", "/v1/notes/"+written["id"].(string), "", 404)
}

// TestTheTestsOfTheRecipePass runs the tests that the page gives, and those that read what a new aggregate brings: the
// samples of its events, and its routes, called as everyone.
func TestTheTestsOfTheRecipePass(t *testing.T) { // not beside the other, which compiles the same
	root, steps := rooted(t)
	if len(steps.test) != 1 || len(steps.samples) != 2 {
		t.Fatalf("the page has the tests %v and the samples %v, want one and two", steps.test, steps.samples)
	}
	o := layOver(t, root, steps)
	for path, text := range steps.test {
		o.add(t, path, text)
	}
	dir := t.TempDir()
	goRun(t, root, "test", "-c", inHaste, "-ldflags=-s -w", "-overlay", o.save(t), "-o", dir+"/", "./events", "./projections", "./cmd/atlas")
	pass := func(binary, in, tests string, want int) {
		t.Helper()
		cmd := exec.Command(filepath.Join(dir, binary), "-test.v", "-test.run", tests)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		if passed := strings.Count(string(out), "--- PASS"); err != nil || passed < want {
			t.Errorf("%s: %d tests pass, want %d (%v)\n%s", tests, passed, want, err, out)
		}
	}
	pass("projections.test", filepath.Join(root, "projections"), "Note", 2)
	pass("atlas.test", filepath.Join(root, "cmd/atlas"), "TestEveryRouteAnswersEveryCallerAsItDeclares/note", 4)
	pass("events.test", withSamples(t, root, steps.samples), "Sample", 1)
}

// rooted returns the tree, and what the page says to do with it.
func rooted(t *testing.T) (root string, s steps) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root, readSteps(t, root)
}

// inHaste has the compiler leave out what costs it the most, inlining and what debuggers read: nearly all of Atlas is compiled
// anew, to run for some seconds. The test of two releases does likewise, and they share what they have in common.
const inHaste = "-gcflags=github.com/atlas-platform/atlas/...=-l -dwarf=false"

func goRun(t *testing.T, root string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the tree with the page's changes does not build: %v\n%s", err, out)
	}
}

// withSamples returns a folder with the tree's samples of events, and the page's.
func withSamples(t *testing.T, root string, samples map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(filepath.Join(root, "events/testdata"))); err != nil {
		t.Fatal(err)
	}
	for path, text := range samples {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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
	if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
		t.Errorf("%s, as the page gives it, is not formatted as gofmt does (%v)", path, err)
	}
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
