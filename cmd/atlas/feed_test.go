package main_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/readapi/feed/feedtest"
)

// newServiceKey has an admin make a service key, and returns its id and the key.
func newServiceKey(t testing.TB, admin *client, scopes ...string) (id, key string) {
	t.Helper()
	var made struct{ ID, Key string }
	into(t, &made, admin.must(t, http.StatusCreated, "POST", "/v1/admin/api-keys", map[string]any{"name": "Service", "scopes": scopes}))
	return made.ID, made.Key
}

// follow reads a feed until it has brought so many events, and returns their positions. Whenever it ends, or cannot be
// had, it goes on behind the last id, at wherever the API is then. ends counts that.
func follow(ctx context.Context, base func() string, query, key string, count int) (got []int64, ends int, err error) {
	for lastID := ""; ; ends++ {
		r, err := feedtest.Open(ctx, base(), query, key, lastID)
		if refused := (*feedtest.Refused)(nil); errors.As(err, &refused) && refused.Status < 500 {
			return got, ends, fmt.Errorf("behind %q: %w", lastID, err)
		}
		for err == nil && len(got) < count {
			var e wire.Event
			if e, err = r.NextEvent(); err == nil {
				got = append(got, e.Position)
			}
		}
		if r != nil {
			lastID = r.LastID
			r.Close()
		}
		if len(got) == count {
			return got, ends, nil
		}
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			return got, ends, fmt.Errorf("%d events, the last behind %q: %w; before: %w", len(got), lastID, context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}

// TestAFeedSurvivesTheDeathOfItsNode kills the node that serves a feed, in the middle of what comes, while others write
// through the other; the feed goes on there.
func TestAFeedSurvivesTheDeathOfItsNode(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 40
	database := pgtest.NewDatabase(t)
	nodes, settings := fleet(t, database, database)
	admin := createAdmin(t, nodes[1], settings, "admin@example.com")
	_, key := newServiceKey(t, admin, "events:read")
	first, err := feedtest.Open(t.Context(), nodes[0].url(), "?category=document&after=start", key, "")
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for n := range each {
				if a, err := admin.do(t.Context(), "POST", "/v1/documents", content{fmt.Sprint("Plan ", n), "Ship it."}); err != nil || a.status != http.StatusCreated {
					t.Errorf("write: %s %v", a, err)
				}
			}
		})
	}
	got := feedtest.Positions(first.Take(t, each))
	nodes[0].kill()
	for {
		e, err := first.NextEvent()
		if err != nil {
			break
		}
		got = append(got, e.Position)
	}
	again := feedtest.MustOpen(t, nodes[1].url(), "?category=document&after=start", key, first.LastID)
	got = append(got, feedtest.Positions(again.Take(t, writers*each-len(got)))...)
	writing.Wait()
	whole := feedtest.MustOpen(t, nodes[1].url(), "?category=document&after=start", key, "")
	if want := feedtest.Positions(whole.Take(t, writers*each)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestARevokedKeyEndsItsFeedsOnEveryNode revokes a key at one node, and then stops that node under another key's feed.
func TestARevokedKeyEndsItsFeedsOnEveryNode(t *testing.T) {
	t.Parallel()
	database := pgtest.NewDatabase(t)
	nodes, settings := fleet(t, database, database)
	admin := createAdmin(t, nodes[0], settings, "admin@example.com")
	id, key := newServiceKey(t, admin, "events:read")
	_, good := newServiceKey(t, admin, "events:read")
	goes := feedtest.MustOpen(t, nodes[0].url(), "?category=document", good, "")
	feeds := []*feedtest.Reader{
		feedtest.MustOpen(t, nodes[0].url(), "?category=document", key, ""), feedtest.MustOpen(t, nodes[1].url(), "?category=document", key, ""),
	}
	admin.must(t, http.StatusNoContent, "DELETE", "/v1/admin/api-keys/"+id, nil)
	revoked := time.Now()
	for n, f := range feeds {
		var ended *feedtest.Ended
		if _, err := f.NextEvent(); !errors.As(err, &ended) || ended.Code != "token_revoked" {
			t.Errorf("node %d: got %v, want token_revoked", n, err)
		}
		t.Logf("node %d: ended after %s", n, time.Since(revoked))
	}
	nodes[0].terminate()
	var ended *feedtest.Ended
	if _, err := goes.NextEvent(); !errors.As(err, &ended) || ended.Code != "draining" {
		t.Errorf("the node stops: got %v, want draining", err)
	}
	if code := nodes[0].wait(); code != 0 || strings.Contains(nodes[0].stderr.String(), "requests were cut off") {
		t.Errorf("it exited %d, or had to cut requests off", code)
	}
	feedtest.MustOpen(t, nodes[1].url(), "?category=document", good, goes.LastID)
}

// TestManyFeedsTakeNoConnections opens 200 feeds at one node, and brings each an event.
func TestManyFeedsTakeNoConnections(t *testing.T) {
	t.Parallel()
	const count = 200
	nodes, settings := fleet(t, pgtest.NewDatabase(t))
	admin := createAdmin(t, nodes[0], settings, "admin@example.com")
	connections := func() (n int) {
		for line := range strings.Lines(metricsOf(t, nodes[0])) {
			fmt.Sscanf(line, "atlas_db_connections %d", &n)
		}
		return n
	}
	var feeds []*feedtest.Reader
	before := 0
	for range count / 20 {
		_, key := newServiceKey(t, admin, "events:read")
		for range 20 {
			feeds = append(feeds, feedtest.MustOpen(t, nodes[0].url(), "?category=document", key, ""))
			if before == 0 {
				before = connections()
			}
		}
	}
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	for _, f := range feeds {
		f.Take(t, 1)
	}
	now := connections()
	t.Logf("%d connections with one feed, %d with %d", before, now, len(feeds))
	if before == 0 || now > before+10 {
		t.Errorf("%d connections with one feed, %d with %d", before, now, len(feeds))
	}
}

// TestTheFeedInPythonGoesOnBehindItsPlace runs deploy/examples/feed.py as it is, kills it, and then the node.
func TestTheFeedInPythonGoesOnBehindItsPlace(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	nodes, settings := fleet(t, pgtest.NewDatabase(t))
	admin := createAdmin(t, nodes[0], settings, "admin@example.com")
	id, key := newServiceKey(t, admin, "events:read")
	place, out := filepath.Join(t.TempDir(), "place"), &watchtest.Output{}
	run := func() *exec.Cmd {
		t.Helper()
		c := exec.CommandContext(t.Context(), interpreter, "-B", filepath.Join("..", "..", "deploy", "examples", "feed.py"))
		c.Env = append(os.Environ(), "ATLAS_URL="+nodes[0].url(), "ATLAS_KEY="+key, "PLACE="+place, "no_proxy=127.0.0.1")
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var want []string
	write := func() {
		t.Helper()
		var made receipt
		into(t, &made, admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."}))
		want = append(want, "document.created document-"+made.ID.String())
	}
	said := func() (lines []string) {
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "document.created ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
	// told waits until all was told, and its place is stored: a kill before that may bring the last one again.
	told := func(last string) string {
		t.Helper()
		stored := ""
		watchtest.Eventually(t, patience, "the example tells what is new and stores its place", func() bool {
			text, _ := os.ReadFile(place)
			stored = string(text)
			return len(said()) == len(want) && stored != last
		})
		if got := said(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		return stored
	}
	write()
	example := run()
	last := told("")
	if err := example.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = example.Wait()
	write()
	example = run()
	told(last)
	admin.must(t, http.StatusNoContent, "DELETE", "/v1/admin/api-keys/"+id, nil)
	err := example.Wait() // the feed ends, and a revoked key opens no other
	if text := out.String(); err == nil || !strings.Contains(text, `ended: {"code":"token_revoked"`) || !strings.Contains(text, "atlas refuses: ") {
		t.Errorf("it ended with %v and wrote\n%s", err, text)
	}
}

// TestTheCommandsOfEventsRun gives every command of docs/events.md that a shell is shown.
func TestTheCommandsOfEventsRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	nodes, settings := fleet(t, pgtest.NewDatabase(t))
	admin := createAdmin(t, nodes[0], settings, "admin@example.com")
	_, key := newServiceKey(t, admin, "events:read")
	blocks := strings.Split(string(page), "```sh\n")[1:]
	wants := []string{`"key":"atlas_`, `"resume":"`, "retry: "} // the last one does not end
	if len(blocks) != len(wants) {
		t.Fatalf("the page has %d commands, want %d", len(blocks), len(wants))
	}
	for i, block := range blocks {
		command, _, _ := strings.Cut(block, "```")
		out := &watchtest.Output{}
		ctx, hangUp := context.WithCancel(t.Context())
		shell := exec.CommandContext(ctx, "bash", "-eu", "-c", "exec "+command)
		shell.Env = append(os.Environ(), "ATLAS="+nodes[0].url(), "ADMIN="+admin.access, "KEY="+key, "no_proxy=127.0.0.1")
		shell.Stdout, shell.Stderr = out, out
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		said := watchtest.Holds(patience, func() bool { return strings.Contains(out.String(), wants[i]) })
		hangUp()
		_ = shell.Wait()
		if !said {
			t.Errorf("%s\nsays %s\nwant %s", command, out, wants[i])
		}
	}
}
