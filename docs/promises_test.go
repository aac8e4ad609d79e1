// Package docs holds the pages, and tests that hold them to what the code does.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promising are the pages that promise, and how many tests each names at least: a page that lost its table would pass.
var promising = map[string]int{"log.md": 60, "identity.md": 60}

var testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]+)`")

func TestEveryTestThatAPageNamesExists(t *testing.T) {
	t.Parallel()
	there := testsOfTheRepository(t)
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		names := testName.FindAllStringSubmatch(read(t, page), -1)
		for _, n := range names {
			if !there[n[1]] {
				t.Errorf("%s names %s, which does not exist", page, n[1])
			}
		}
		if least := promising[page]; len(names) < least {
			t.Errorf("%s names %d tests, want at least %d", page, len(names), least)
		}
	}
}

// TestEveryPromiseNamesATest reads the tables whose first column is headed "promise".
func TestEveryPromiseNamesATest(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		inTable := false
		for line := range strings.Lines(read(t, page)) {
			switch {
			case strings.HasPrefix(strings.ToLower(line), "| promise"):
				inTable = true
			case !strings.HasPrefix(line, "|"):
				inTable = false
			case inTable && !strings.HasPrefix(line, "|-") && !testName.MatchString(line):
				t.Errorf("%s promises what no test holds: %s", page, line)
			}
		}
	}
}

// testsOfTheRepository returns the names of all its tests and fuzz targets.
func testsOfTheRepository(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(\w+ \*testing\.[TF]\) {`)
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		for _, m := range declared.FindAllStringSubmatch(read(t, path), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
