package projections_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/projections"
)

var definition = regexp.MustCompile(`(?m)^var (\w+) = engine\.Define\[\w+\]\(\s*"(\w+)"`)

// A view that is not listed compiles, and is never filled.
func TestEveryViewIsInTheCatalog(t *testing.T) {
	t.Parallel()
	var listed, defined []string
	for _, p := range projections.Catalog() {
		listed = append(listed, p.ID().Name)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, view := range definition.FindAllStringSubmatch(string(source), -1) {
			defined = append(defined, view[2])
			if !slices.Contains(listed, view[2]) {
				t.Errorf("%s: %s is not in Catalog (catalog.go), so nothing would fill its table", file, view[1])
			}
		}
	}
	if len(defined) < len(listed) {
		t.Errorf("found the definitions of %v, and the catalogue lists %v", defined, listed)
	}
}
