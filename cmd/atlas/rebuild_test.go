package main_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

var (
	rebuildKills = flag.Int("rebuild-kills", 10, "how often a rebuild is killed before it may finish")
	rebuildSeed  = flag.Int("rebuild-seed", 60, "how many documents there are before it begins")
)

// TestARebuildThatIsKilledTenTimesIsNoticedByNobody has one process write and another read over HTTP while a third rebuilds,
// rolls back and verifies the table that is read.
func TestARebuildThatIsKilledTenTimesIsNoticedByNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t)
	settings := []string{"ATLAS_DATABASE_URL=" + url, "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t)}
	writer := serve(t, settings...)
	reader := serve(t, append(settings, "ATLAS_ROLES=api")...)
	user := signUp(t, writer.url(), "ann@example.com")
	tr := &traffic{writer: user, reader: user.at(reader.url())}
	for range *rebuildSeed {
		if err := tr.create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	db, err := postgres.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	awaitProjections(t, db)
	ctx, stop := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	for n := range 3 {
		g.Go(func() error {
			return tr.writeAndRead(ctx, tr.documents[n*len(tr.documents)/3:(n+1)*len(tr.documents)/3])
		})
	}
	g.Go(func() error { return tr.list(ctx) })

	slowly := []string{"projections", "rebuild", "documents", "--max-load", "2"}
	for range *rebuildKills {
		p := start(t, settings, slowly...)
		select {
		case <-p.exited:
		case <-time.After(rand.N(800 * time.Millisecond)):
			p.kill()
		}
	}
	for _, command := range []string{"rebuild", "rollback", "rebuild", "verify --all"} {
		if o := atlas(t, settings, append([]string{"projections"}, strings.Fields(command+" documents")...)...); o.code != 0 {
			t.Errorf("%s: exit %d: %s%s", command, o.code, o.stdout, o.stderr)
		}
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d writes, %d reads", tr.writes.Load(), tr.reads.Load())

	awaitProjections(t, db)
	if o := atlas(t, settings, "projections", "verify", "documents", "--all"); o.code != 0 || !strings.Contains(o.stdout, ", 0 differ") {
		t.Errorf("in the end: %+v", o)
	}
	for _, d := range tr.documents {
		if got := column[int64](t, db, `SELECT version FROM read.documents_v1 WHERE id = $1`, d.id); len(got) != 1 || got[0] != d.version {
			t.Errorf("document %s has the versions %v, want %d", d.id, got, d.version)
		}
	}
}

// traffic is a user who writes through one node and reads through another. Every answer must be right.
type traffic struct {
	writer, reader *client
	documents      []*written
	writes, reads  atomic.Int64
}

// written is a document and the version that its writer left it at.
type written struct {
	id      uuid.UUID
	version int64
}

func (tr *traffic) create(ctx context.Context) error {
	a, err := tr.writer.do(ctx, "POST", "/v1/documents", content{"Plan", strings.Repeat("x", 1000)})
	if err != nil || a.status != http.StatusCreated {
		return fmt.Errorf("create: %v %w", a, err)
	}
	var r receipt
	err = json.Unmarshal(a.body, &r)
	tr.documents = append(tr.documents, &written{id: r.ID, version: r.Version})
	return err
}

// writeAndRead revises documents one after the other and reads each through the other node: once waiting for what was
// written, and once as it comes. Nothing may be lost, doubled or taken back.
func (tr *traffic) writeAndRead(ctx context.Context, documents []*written) error {
	for n := 0; ; n++ {
		d := documents[n%len(documents)]
		path := "/v1/documents/" + d.id.String()
		a, err := tr.writer.do(context.WithoutCancel(ctx), "PUT", path, content{fmt.Sprint("Plan ", n), strings.Repeat("y", 1000)})
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("revise: %v %w", a, err)
		}
		d.version++
		tr.writes.Add(1)
		for _, headers := range [][]string{{"Atlas-Min-Position", a.header.Get("Atlas-Position"), "Prefer", "wait=30"}, nil} {
			got, err := tr.reader.do(context.WithoutCancel(ctx), "GET", path, nil, headers...)
			if err != nil || got.status != http.StatusOK {
				return fmt.Errorf("read: %v %w", got, err)
			}
			if want := fmt.Sprintf(`"%d"`, d.version); got.header.Get("ETag") != want {
				return fmt.Errorf("read version %s of %s, want %s", got.header.Get("ETag"), path, want)
			}
			tr.reads.Add(1)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// list lists all documents, again and again: they are all there.
func (tr *traffic) list(ctx context.Context) error {
	for ctx.Err() == nil {
		a, err := tr.reader.do(context.WithoutCancel(ctx), "GET", "/v1/documents?limit=100", nil)
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("list: %v %w", a, err)
		}
		if n := strings.Count(string(a.body), `"owner_id"`); n != min(len(tr.documents), 100) {
			return fmt.Errorf("listed %d documents, want %d", n, len(tr.documents))
		}
		tr.reads.Add(1)
	}
	return nil
}
