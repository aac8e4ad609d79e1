package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// operator gives commands on one database after the other, all under one master key.
type operator struct {
	t       *testing.T
	environ []string
}

func newOperator(t *testing.T) *operator {
	return &operator{t: t, environ: []string{
		"ATLAS_DEV=1", "ATLAS_MASTER_KEY=" + sealing.GenerateMaster(), "ATLAS_DATA_DIR=" + t.TempDir(), "ATLAS_LOG_LEVEL=error",
	}}
}

// on returns the operator's environment for a database of its own.
func (o *operator) on() []string {
	o.t.Helper()
	return slices.Concat(o.environ, []string{"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(o.t)})
}

// atlas runs one command line.
func (o *operator) atlas(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, environ, &out, &errs)
	return code, out.String(), errs.String()
}

func (o *operator) must(environ []string, args ...string) string {
	o.t.Helper()
	code, out, errs := o.atlas(environ, args...)
	if code != 0 {
		o.t.Fatalf("atlas %s: exit %d, %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// exec changes the database of an environment, as programs beside Atlas do.
func (o *operator) exec(environ []string, sql string) {
	o.t.Helper()
	cfg, err := loadConfig(environ)
	if err != nil {
		o.t.Fatal(err)
	}
	conn, err := pgx.Connect(o.t.Context(), cfg.DatabaseURL.Reveal())
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close(o.t.Context())
	if _, err := conn.Exec(o.t.Context(), sql); err != nil {
		o.t.Fatal(err)
	}
}

// record appends a document's first event.
func (o *operator) record(environ []string, title string) {
	o.t.Helper()
	cfg, log, err := settings(environ, os.Stderr)
	if err != nil {
		o.t.Fatal(err)
	}
	n, err := openNode(context.Background(), cfg, log, true)
	if err != nil {
		o.t.Fatal(err)
	}
	defer n.close()
	stream := eventstore.NewStream("document", uuid.Must(uuid.NewV7()))
	w := eventstore.Write{Stream: stream, Events: []events.Event{events.DocumentCreated{OwnerID: uuid.New(), Title: title}, events.DocumentArchived{}}}
	if _, err := n.store.Append(context.Background(), w); err != nil {
		o.t.Fatal(err)
	}
}

func TestTheLogIsReadTakenOutAndBroughtIn(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	here, there := o.on(), o.on()
	o.record(here, "Plan")
	ctx, interrupt := context.WithCancel(context.Background())
	var tailed watchtest.Output
	tail := make(chan int, 1)
	go func() {
		tail <- run(ctx, []string{"events", "tail", "--from", "2", "--unseal"}, here, &tailed, os.Stderr)
	}()

	read := o.must(here, "events", "read")
	if lines := strings.Split(strings.TrimSpace(read), "\n"); len(lines) != 2 || strings.Contains(read, "Plan") {
		t.Errorf("read: %q", read)
	}
	var e map[string]any
	line, _, _ := strings.Cut(o.must(here, "events", "read", "--type", "document.created", "--unseal", "--limit", "1"), "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil || fmt.Sprint(e["sealed_data"]) != "map[body: tags:<nil> title:Plan]" {
		t.Errorf("read --unseal: %v, %v", e, err)
	}
	o.record(here, "Tailed")
	watchtest.Eventually(t, time.Minute, "three lines of the tail", func() bool { return strings.Count(tailed.String(), "\n") >= 3 })
	interrupt()
	if code := <-tail; code != 0 || strings.Count(tailed.String(), "\n") != 3 || !strings.Contains(tailed.String(), `"title":"Tailed"`) {
		t.Errorf("tail: exit %d, %q", code, tailed.String())
	}

	file := filepath.Join(t.TempDir(), "log.ndjson")
	o.must(here, "events", "export", file, "--with-keys")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the export's mode is %v (%v), want 0600", info.Mode(), err)
	}
	if code, _, errs := o.atlas(here, "events", "export", file); code != 2 || !strings.Contains(errs, "is there already") {
		t.Errorf("export over a file: exit %d, %s", code, errs)
	}
	if code, _, errs := o.atlas(here, "events", "import", file); code != 1 || !strings.Contains(errs, "not empty") {
		t.Errorf("import into a log with events: exit %d, %s", code, errs)
	}
	if out := o.must(there, "events", "import", file, "--chunk", "1"); out != "imported 4 events, the last at position 4\n" {
		t.Errorf("import: %s", out)
	}
	if out := o.must(there, "events", "import", file); !strings.HasPrefix(out, "nothing to do") {
		t.Errorf("import again: %s", out)
	}
	if a, b := o.must(here, "events", "read", "--unseal"), o.must(there, "events", "read", "--unseal"); a != b {
		t.Errorf("the logs differ:\n%s\n%s", a, b)
	}
	if out := o.must(there, "events", "parts"); strings.Count(out, "attached") != 2 {
		t.Errorf("parts:\n%s", out)
	}
	o.exec(there, `INSERT INTO atlas.log_readers (topic, consumer_group, position) VALUES ('document', 'search', 3)`)
	if got := strings.Fields(o.must(there, "events", "readers")); len(got) != 10 || !slices.Equal(got[5:9], []string{"document", "search", "3", "1"}) {
		t.Errorf("readers: %q", got)
	}
	for _, args := range []string{"read --stream nosuch", "tail --from then", "detach x", "detach 0", "detach 99", "attach 0", "import", "import --abandon", "import /no/such/file", "read extra", "read --limit -1", "read --from 5 --to 4"} {
		if code, _, errs := o.atlas(there, append([]string{"events"}, strings.Fields(args)...)...); code != 2 {
			t.Errorf("events %s: exit %d, want 2: %s", args, code, errs)
		}
	}
}

func TestProgressTellsShareRateAndWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := newProgress(&bytes.Buffer{}, "import")
	p.show(100, 1000)
	got := p.line(400, 1000, 3*time.Second)
	if want := "import [############..................] 40% 400 of 1000, 100/s, 6s left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.endless = true
	if got, want := p.plain(400, 1000, 3*time.Second), "import: 40% 400 of 1000, 100/s, ? left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := p.plain(1000, 1000, 0), "import: 100% 1000 of 1000, 900000/s, 0s left"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
