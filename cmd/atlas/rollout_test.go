package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// nextRelease is what a later release of Atlas changes: by file, what stands there and what is to stand there instead.
//
//   - A new type of event, document.printed, which documents get when they are archived.
//   - A newer shape of user.registered.
//   - Documents of version 2. The history of documents folds the new type too, and keeps its version.
var nextRelease = map[string][]string{
	"events/document.go": {
		`Define[DocumentDeleted]("document.deleted"),`, `Define[DocumentDeleted]("document.deleted"), Define[DocumentPrinted]("document.printed"),`,
		`func (DocumentCreated) document()`, `// DocumentPrinted is the new one.
			type DocumentPrinted struct {
				OwnerID uuid.UUID ` + "`json:\"owner_id\" pii:\"subject\"`" + `
			}
			func (DocumentPrinted) document() {}
			func (DocumentCreated) document()`,
	},
	"events/user.go": {
		`Define[UserRegistered]("user.registered")`,
		`Define[UserRegistered]("user.registered", func(v1 json.RawMessage) (json.RawMessage, error) { return v1, nil })`,
		`import (`, `import ("encoding/json"`,
	},
	"commands/document.go": {
		`[]events.DocumentEvent{events.DocumentArchived{`, `[]events.DocumentEvent{events.DocumentPrinted{OwnerID: d.owner}, events.DocumentArchived{`,
		`case events.DocumentRevised:`, `case events.DocumentRevised, events.DocumentPrinted:`,
	},
	"projections/document.go": {
		`("documents", 1,`, `("documents", 2,`,
		`engine.Delete[events.DocumentDeleted](),`,
		`engine.Delete[events.DocumentDeleted](), engine.Change(func(*DocumentRow, engine.Recorded[events.DocumentPrinted]) {}),`,
	},
	"projections/document_history.go": {
		`{ c.Changes = status("deleted") }),`,
		`{ c.Changes = status("deleted") }),
		engine.Create(func(c *DocumentChange, e engine.Recorded[events.DocumentPrinted]) { c.Changes = map[string]any{} }),`,
	},
}

// inHaste has the compiler leave out what costs it the most, inlining and what debuggers read: nearly all of Atlas is compiled
// anew, to run for some seconds. The test of docs/aggregate.md does likewise, and they share what they have in common.
const inHaste = "-gcflags=github.com/atlas-platform/atlas/...=-l -dwarf=false"

// buildNext builds the next release, from the sources there are and what it changes of them.
func buildNext(t *testing.T) (path string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := openDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	overlay := map[string]string{}
	for name, changes := range nextRelease {
		source, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(source)
		for i := 0; i < len(changes); i += 2 {
			if strings.Count(text, changes[i]) != 1 {
				t.Fatalf("%s has no place, or several, that reads %q: say anew what the next release changes", name, changes[i])
			}
			text = strings.Replace(text, changes[i], changes[i+1], 1)
		}
		changed := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(root, name)] = changed
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file, path := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "atlas-next")
	if err := os.WriteFile(file, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", inHaste, "-ldflags=-s -w", "-overlay", file, "-o", path, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// deployment is two releases on one database.
type deployment struct {
	*testing.T
	db       *pgxpool.Pool
	settings []string
	paths    [2]string // of the older and the newer program
}

const older, newer = 0, 1

func (d *deployment) start(t *testing.T, release int, args ...string) *process {
	t.Helper()
	return startProgram(t, d.paths[release], nil, onFreePorts(d.settings), args...)
}

// run carries out a command of a release.
func (d *deployment) run(t *testing.T, release int, args ...string) outcome {
	t.Helper()
	p := d.start(t, release, args...)
	return outcome{p.wait(), p.stdout.String(), p.stderr.String()}
}

// startBehind starts a release whose table of documents nobody can move meanwhile, and returns when it has said that this is
// why it is not ready. Then it may.
func (d *deployment) startBehind(t *testing.T, release, version int, meanwhile func()) *process {
	t.Helper()
	tx, err := d.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	const lock = `SELECT position FROM atlas.projections WHERE name = 'documents' AND version = $1 FOR UPDATE`
	if tag, err := tx.Exec(t.Context(), lock, version); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("lock documents %d: %v, %v", version, tag, err)
	}
	p := d.start(d.T, release, "serve") // which outlives this part of the test
	p.eventually(patience, "says that its read tables are behind", func() bool {
		a, err := newClient(p.url()).do(t.Context(), "GET", "/readyz", nil)
		return err == nil && a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), "the read tables have not caught up")
	})
	meanwhile()
	if got := status(p.url() + "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("while its documents are behind /readyz answers %d", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.awaitReady(patience)
	return p
}

// requireHeldBy waits until a process moves a projection.
func (d *deployment) requireHeldBy(t *testing.T, p *process, name string) {
	t.Helper()
	const q = `
		SELECT n.name FROM atlas.projections p JOIN atlas.projection_nodes n ON n.id = p.holder
		WHERE p.name = $1 AND p.state = 'live'`
	watchtest.Eventually(t, patience, name+" is moved by the process", func() bool {
		return slices.ContainsFunc(column[string](t, d.db, q, name), func(by string) bool {
			return strings.HasSuffix(by, fmt.Sprintf("/%d", p.cmd.Process.Pid))
		})
	})
}

func (d *deployment) tables(t *testing.T) []string {
	t.Helper()
	return column[string](t, d.db, `SELECT viewname::text FROM pg_views WHERE schemaname = 'read' AND viewname LIKE 'documents%' ORDER BY 1`)
}

// requireAlike holds that both versions of the documents are the same.
func (d *deployment) requireAlike(t *testing.T) {
	t.Helper()
	awaitProjections(d.T, d.db)
	all := func(version int) []string {
		return column[string](t, d.db, fmt.Sprintf(`SELECT id || ' ' || title || ' ' || status FROM read.documents_v%d ORDER BY 1`, version))
	}
	if diff := cmp.Diff(all(1), all(2)); diff != "" || len(all(1)) == 0 {
		t.Errorf("the tables differ (-version 1 +version 2):\n%s", diff)
	}
}

// history returns the types of the events of a document, as a node tells them that has come to a position.
func history(t *testing.T, c *client, id uuid.UUID, position string) (types []string) {
	t.Helper()
	var page struct {
		Data []struct {
			Type string `json:"type"`
		} `json:"data"`
	}
	into(t, &page, c.must(t, http.StatusOK, "GET", "/v1/documents/"+id.String()+"/history", nil, after(position, 30)...))
	for _, change := range page.Data {
		types = append(types, change.Type)
	}
	return types
}

// TestTwoReleasesShareOneDatabase deploys the next release beside this one, and rolls it back.
func TestTwoReleasesShareOneDatabase(t *testing.T) {
	t.Parallel()
	d := &deployment{T: t, paths: [2]string{binary.path(t), buildNext(t)}}
	d.settings, d.db = shared(t)
	old := d.start(t, older, "serve")
	old.awaitReady(patience)
	ann := signUp(t, old.url(), "ann@example.com")
	create := func(t *testing.T, c *client, title string) receipt {
		t.Helper()
		var made receipt
		into(t, &made, c.must(t, http.StatusCreated, "POST", "/v1/documents", content{title, "Ship it."}))
		return made
	}
	// readBy holds that a node reads a document that another wrote.
	readBy := func(t *testing.T, p *process, made receipt) {
		t.Helper()
		ann.at(p.url()).must(t, http.StatusOK, "GET", "/v1/documents/"+made.ID.String(), nil, after(made.Position, 30)...)
	}
	first := create(t, ann, "before")

	var next *process
	ok := true // each part stands on the one before
	then := func(what string, holds func(*testing.T)) { ok = ok && t.Run(what, holds) }
	then("the newer one is not ready before its tables have caught up, and the older one serves", func(t *testing.T) {
		d.run(t, newer, "projections", "cancel", "documents").wants(t, 2, "nothing is being done") // and its table is made
		next = d.startBehind(t, newer, 2, func() {
			readBy(t, old, create(t, ann, "meanwhile"))
			if got := status(old.url() + "/readyz"); got != http.StatusOK {
				t.Errorf("the older one's /readyz answers %d", got)
			}
		})
	})
	then("each keeps and reads a table of its own", func(t *testing.T) {
		readBy(t, next, create(t, ann, "by the older"))
		readBy(t, old, create(t, ann.at(next.url()), "by the newer"))
		if got := d.tables(t); !slices.Equal(got, []string{"documents_v1", "documents_v2"}) {
			t.Errorf("the tables are %v", got)
		}
		d.requireAlike(t)
	})
	then("an event of a newer type is left to the newer one by a projection that they share", func(t *testing.T) {
		d.requireHeldBy(t, old, "document_history")
		made := create(t, ann, "to be printed")
		position := ann.at(next.url()).must(t, http.StatusOK, "POST", "/v1/documents/"+made.ID.String()+"/archive", nil).header.Get("Atlas-Position")
		want := []string{"document.created", "document.printed", "document.archived"}
		for _, p := range []*process{old, next} {
			if got := history(t, ann.at(p.url()), made.ID, position); !slices.Equal(got, want) {
				t.Errorf("its history is %v, want %v", got, want)
			}
		}
		d.requireHeldBy(t, next, "document_history")
		d.requireAlike(t)
	})
	then("an event of a newer shape is left to the newer one", func(t *testing.T) {
		signUp(t, next.url(), "bob@example.com")
		awaitProjections(d.T, d.db)
		d.requireHeldBy(t, next, "users")
		d.requireHeldBy(t, next, "outbox")
		written := column[int64](t, d.db, `SELECT position FROM atlas.events WHERE type = 'user.registered' AND schema_version = 2`)
		if len(written) != 1 {
			t.Fatalf("%d events are of the newer shape, want one", len(written))
		}
		const published = `SELECT count(*) FROM outbox.users WHERE (metadata->>'position')::bigint = $1`
		if n := column[int](t, d.db, published, written[0])[0]; n != 1 {
			t.Errorf("the outbox has %d messages of it, want one", n)
		}
		users := column[string](t, d.db, `SELECT 'read.users_v' || version FROM atlas.projections WHERE name = 'users' AND state = 'live'`)[0]
		if n := column[int](t, d.db, `SELECT count(*) FROM `+users)[0]; n != 2 {
			t.Errorf("%s has %d users, want 2", users, n)
		}
	})
	then("nobody drops what the other runs", func(t *testing.T) {
		for release, table := range []string{older: "read.documents_v2_g1", newer: "read.documents_v1_g1"} {
			o := d.run(t, release, "projections", "drop-old")
			if o.code != 0 || !strings.Contains(o.stdout, "kept "+table+", which ") || !strings.Contains(o.stdout, "0 tables dropped") {
				t.Errorf("got %+v, want %s kept", o, table)
			}
		}
	})
	then("what waited for the newer one is done when the older one has stopped", func(t *testing.T) {
		old.terminate()
		old.wait()
		readBy(t, next, create(t, ann.at(next.url()), "without the older"))
		watchtest.Eventually(t, patience, "everybody is welcomed once", func() bool { return mailsTo(t, d.settings, "bob@example.com") == 1 })
	})
	then("rolled back, the older one finds its table, and is ready when that has caught up", func(t *testing.T) {
		old = d.startBehind(t, older, 1, func() { readBy(t, next, create(t, ann.at(next.url()), "while it starts")) })
		readBy(t, old, create(t, ann.at(next.url()), "by the newer, again"))
		d.requireAlike(t)
		next.terminate()
		next.wait()
		ann = ann.at(old.url())
		readBy(t, old, create(t, ann, "after"))
		readBy(t, old, first)
	})
	then("what nobody runs any more is dropped", func(t *testing.T) {
		o := d.run(t, older, "projections", "drop-old")
		if o.code != 0 || !strings.Contains(o.stdout, "dropped read.documents_v2_g1") || !strings.Contains(o.stdout, "document.printed in document_history") {
			t.Errorf("got %+v", o)
		}
		if got := d.tables(t); !slices.Equal(got, []string{"documents_v1"}) {
			t.Errorf("the tables are %v", got)
		}
		readBy(t, old, create(t, ann, "at last"))
	})
}

// mailsTo counts the mails to an address in the data directory.
func mailsTo(t *testing.T, settings []string, address string) (n int) {
	t.Helper()
	for _, s := range settings {
		dir, is := strings.CutPrefix(s, "ATLAS_DATA_DIR=")
		if !is {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, "mail", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), address) {
				n++
			}
		}
	}
	return n
}
