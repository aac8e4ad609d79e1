package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	binary.remove()
	os.Exit(code)
}

// binary is the program under test, built once, by the first test that runs it.
var binary build

type build struct {
	once sync.Once
	dir  string
	err  error
}

// path returns where the program is. Every user of the machine may run it.
func (b *build) path(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = openDir(); b.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-buildvcs=false", "-o", b.dir, ".").CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return filepath.Join(b.dir, "atlas")
}

func (b *build) remove() {
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}

// openDir makes a temporary directory that every user may walk through, unlike those of testing.T.
func openDir() (string, error) {
	dir, err := os.MkdirTemp("", "atlas-test-*")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}
