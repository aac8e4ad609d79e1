package eventstore_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryTestThatThePromisesNameExists reads docs/log.md, which says what the log promises and which test holds it.
func TestEveryTestThatThePromisesNameExists(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 30 {
		t.Errorf("the page names %d tests, want many more", len(named))
	}
	for _, n := range named {
		if !strings.Contains(code.String(), "\nfunc "+n[1]+"(t *testing.T) {") {
			t.Errorf("docs/log.md names %s, which does not exist", n[1])
		}
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| promise") && !strings.Contains(line, "`Test") {
			t.Errorf("docs/log.md promises what no test holds: %s", line)
		}
	}
}
