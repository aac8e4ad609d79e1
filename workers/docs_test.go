package workers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// passage is a section of a text that tells how to write a worker.
type passage struct{ file, heading string }

// The passages that tell it, seen from this package. The first is compiled and run; the others must show the same code.
var passages = []passage{
	{"../docs/workers.md", "## Write a worker"},
	{"../README.md", "## Write a worker"},
}

// block is Go code in a text, and the file that the text says it belongs into.
type block struct{ path, code string }

var (
	fence = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	named = regexp.MustCompile("`([a-z/_]+\\.go)`")
)

// blocks returns the section's code. The file a block belongs into is the last one named before it.
func (p passage) blocks(t *testing.T) (found []block) {
	t.Helper()
	raw, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, there := strings.Cut(string(raw), p.heading+"\n")
	if !there {
		t.Fatalf("%s has no section %q", p.file, p.heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
		names := named.FindAllStringSubmatch(text[:at[0]], -1)
		if len(names) == 0 {
			t.Fatalf("%s: no file is named before the code", p.file)
		}
		found = append(found, block{path: names[len(names)-1][1], code: text[at[2]:at[3]]})
	}
	return found
}

// overlay lays the blocks over the module as a reader would put them there: a package is a file, and anything else is
// added to the end of the file's last function. More files may be laid beside them.
func overlay(t *testing.T, blocks []block, more map[string]string) (path string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files := more
	for _, b := range blocks {
		if strings.HasPrefix(b.code, "package ") {
			files[b.path] = b.code
			continue
		}
		raw, err := os.ReadFile(filepath.Join(root, b.path))
		if err != nil {
			t.Fatal(err)
		}
		body, ends := strings.CutSuffix(string(raw), "}\n")
		if !ends {
			t.Fatalf("%s does not end in a function", b.path)
		}
		files[b.path] = body + b.code + "}\n"
	}
	dir, replace := t.TempDir(), map[string]string{}
	for name, text := range files {
		at := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, name)] = at
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The processes that run what the texts show, on the database they are given, until they are asked to end.
const (
	workersOnly = setUp + `
	router := workers.New(subscriptions, log)
	workers.Catalog(router, workers.Tools{Log: log})
	if err := router.Run(ctx); err != nil {
		panic(err)
	}
}
`
	reportOnly = setUp + `
	if err := workers.Report(ctx, subscriptions, os.Stdout); err != nil {
		panic(err)
	}
}
`
)

// setUp begins a process: what follows has the subscriptions of its database.
const setUp = `package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/workers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := postgres.Connect(ctx, os.Args[1])
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		panic(err)
	}
	master, err := sealing.ParseMaster(os.Args[2])
	if err != nil {
		panic(err)
	}
	keys, err := sealing.New(ctx, pool, master)
	if err != nil {
		panic(err)
	}
	store := eventstore.New(pool, vocabulary, keys)
	waker := eventstore.NewWaker(store, log)
	tail := eventstore.NewTail(store, waker, log)
	go func() { _ = waker.Run(ctx) }()
	go func() { _ = tail.Run(ctx) }()
	subscriptions := subscription.New(pool, store, tail, log)
`

// started builds the code that the docs show, unchanged, and starts it as a process.
func started(t *testing.T, shown passage, program string, l *logtest.Log, key string, prepare func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "workers")
	laid := overlay(t, shown.blocks(t), map[string]string{"cmd/workersonly/main.go": program})
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-overlay", laid, "-o", binary, "./cmd/workersonly")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	process := exec.CommandContext(t.Context(), binary, l.URL, key)
	process.Stderr = t.Output()
	prepare(process)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	return process
}

// stopped asks a process to end, and holds that it ends well.
func stopped(t *testing.T, process *exec.Cmd) {
	t.Helper()
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

func TestThePlainWorkerInTheDocsWorks(t *testing.T) {
	t.Parallel()
	key := sealing.GenerateMaster()
	l := logtest.NewWith(t, key, subscription.Migrations())
	var said watchtest.Output
	process := started(t, passage{"../docs/workers.md", "## Without Watermill"}, reportOnly, l, key, func(c *exec.Cmd) { c.Stdout = &said })
	var want []string
	for range 3 {
		id := newID()
		write(t, l, createDocument(id))
		want = append(want, id.String())
	}
	watchtest.Eventually(t, time.Minute, "a line about each document", func() bool {
		return !slices.ContainsFunc(want, func(id string) bool { return !strings.Contains(said.String(), id+" text/") })
	})
	stopped(t, process)
	if lines := strings.Count(said.String(), "\n"); lines != len(want) {
		t.Errorf("%d lines about %d documents: %s", lines, len(want), said.String())
	}
}

// TestTheWorkerInTheDocsWorks runs the docs' worker. The URL it calls is reached through a proxy, which fails the first call.
func TestTheWorkerInTheDocsWorks(t *testing.T) {
	t.Parallel()
	// The text's worker reads what is sealed, so its process needs the key that the test writes with.
	key := sealing.GenerateMaster()
	l := logtest.NewWith(t, key, subscription.Migrations())
	type call struct{ url, key, document string }
	calls := make(chan call, 10)
	var answered atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			DocumentID string `json:"document_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if answered.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		calls <- call{r.URL.String(), r.Header.Get("Idempotency-Key"), body.DocumentID}
	}))
	t.Cleanup(proxy.Close)

	process := started(t, passages[0], workersOnly, l, key, func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	})
	id := newID()
	write(t, l, createDocument(id))
	failed, again := receive(t, calls), receive(t, calls)
	if failed.document != id.String() || failed.url != "http://hooks.example.com/documents" || failed.key == "" {
		t.Errorf("called with %+v, want document %s at the URL in the text, and a key", failed, id)
	}
	if again != failed {
		t.Errorf("after a failure called with %+v, want the same as before: %+v", again, failed)
	}
	stopped(t, process)
}

func TestEveryTextShowsTheSameWorker(t *testing.T) {
	t.Parallel()
	want := passages[0].blocks(t)
	for _, p := range passages[1:] {
		if diff := cmp.Diff(want, p.blocks(t), cmp.AllowUnexported(block{})); diff != "" {
			t.Errorf("%s (-%s +here):\n%s", p.file, passages[0].file, diff)
		}
	}
}
