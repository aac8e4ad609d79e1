package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// leasedMessage is a message as a worker outside gets it.
type leasedMessage struct {
	Token   string
	Attempt int
	Event   struct {
		Stream  string
		Version int64
	}
}

// leaseFrom takes messages of the subscription search. Another status than 200 is none.
func (c *client) leaseFrom(ctx context.Context, most, seconds int) (got []leasedMessage, status int, err error) {
	body := map[string]int{"messages": most, "lease_seconds": seconds, "wait_seconds": 1}
	a, err := c.do(ctx, "POST", "/v1/subscriptions/search/lease", body)
	if err != nil || a.status != http.StatusOK {
		return nil, a.status, err
	}
	var answer struct{ Messages []leasedMessage }
	err = json.Unmarshal(a.body, &answer)
	return answer.Messages, a.status, err
}

func (c *client) ack(ctx context.Context, token string) (answer, error) {
	return c.do(ctx, "POST", "/v1/subscriptions/search/ack", map[string][]string{"tokens": {token}})
}

// outsideLedger is what workers outside have said to be done, and what they know to count.
type outsideLedger struct {
	mu      sync.Mutex
	said    map[string]int64
	counts  map[string]int64
	refused int // answers that did not count, since the lease was over
}

// known returns what is known to be done before a request is made: none of it may come again.
func (g *outsideLedger) known() map[string]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.counts)
}

// took says what is wrong with a message that was handed out to who knew that much.
func (g *outsideLedger) took(m leasedMessage, known map[string]int64) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if least, most := known[m.Event.Stream]+1, g.said[m.Event.Stream]+1; m.Event.Version < least || m.Event.Version > most {
		return fmt.Sprintf("version %d of %s was handed out, want one from %d to %d", m.Event.Version, m.Event.Stream, least, most)
	}
	return ""
}

// says notes that a message is about to be answered.
func (g *outsideLedger) says(m leasedMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said[m.Event.Stream] = max(g.said[m.Event.Stream], m.Event.Version)
}

func (g *outsideLedger) gave(m leasedMessage, counts bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !counts {
		g.refused++
		return
	}
	g.counts[m.Event.Stream] = max(g.counts[m.Event.Stream], m.Event.Version)
}

func (g *outsideLedger) count() (total int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, version := range g.counts {
		total += int(version)
	}
	return total
}

// TestWorkersOutsideLoseNothingWhenANodeIsKilled has workers lease at two nodes and answer at the other one. One node is
// killed with leases out, and answers whose fate is unknown are repeated at the node that is left.
func TestWorkersOutsideLoseNothingWhenANodeIsKilled(t *testing.T) {
	t.Parallel()
	const documents, each = 20, 8
	settings := []string{"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(t), "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + dataDir(t)}
	stays := serve(t, settings...)
	dies := serve(t, append(settings, "ATLAS_ROLES=api")...)
	admin := createAdmin(t, stays, settings, "root@example.com")
	made := admin.makeKey(t, "/v1/admin/api-keys", map[string]any{"name": "Search", "scopes": []string{"subscriptions:use"}})
	a := admin.withKey(made.Key)
	b := a.at(dies.url())
	a.must(t, http.StatusOK, "PUT", "/v1/subscriptions/search", map[string]any{"categories": []string{"document"}, "attempts": -1})

	// What is leased at the node that dies is answered at the other one.
	ids := make([]uuid.UUID, documents)
	for i := range ids {
		var made receipt
		into(t, &made, admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{Title: "Plan", Body: "Ship it."}))
		ids[i] = made.ID
	}
	g := &outsideLedger{said: map[string]int64{}, counts: map[string]int64{}}
	var kept []leasedMessage
	watchtest.Eventually(t, patience, "a message is leased at the node that dies", func() bool {
		got, _, err := b.leaseFrom(t.Context(), 1, 600)
		kept = append(kept, got...)
		return err == nil && len(kept) > 0
	})

	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	var workers sync.WaitGroup
	nodes := []*client{a, b}
	for i := range 8 {
		workers.Go(func() {
			for n := i; g.count() < documents*each && ctx.Err() == nil; n++ {
				known := g.known()
				got, _, err := nodes[n%2].leaseFrom(ctx, 5, 3)
				if err != nil {
					continue // a node that is gone; what it may have handed out comes again
				}
				for _, m := range got {
					if wrong := g.took(m, known); wrong != "" {
						t.Error(wrong)
					}
					g.says(m)
					said, err := nodes[(n+1)%2].ack(ctx, m.Token)
					for err != nil && ctx.Err() == nil { // it may count or not: the same answer again says which
						said, err = a.ack(ctx, m.Token)
					}
					g.gave(m, said.status == http.StatusNoContent)
				}
			}
		})
	}
	for version := int64(1); version < each; version++ {
		for _, id := range ids {
			said := content{Title: "Plan", Body: fmt.Sprint(version)}
			admin.must(t, http.StatusOK, "PUT", "/v1/documents/"+id.String(), said, "If-Match", fmt.Sprintf(`"%d"`, version))
		}
		if version == each/2 {
			dies.kill()
			for _, m := range kept {
				g.says(m)
				a.must(t, http.StatusNoContent, "POST", "/v1/subscriptions/search/ack", map[string][]string{"tokens": {m.Token}})
				g.gave(m, true)
			}
		}
	}
	workers.Wait()
	if g.count() != documents*each {
		t.Errorf("%d messages were done, want %d", g.count(), documents*each)
	}
	t.Logf("%d answers came too late", g.refused)

	ended := make(chan answer, 1)
	go func() {
		got, _ := a.do(context.Background(), "POST", "/v1/subscriptions/search/lease", map[string]int{"wait_seconds": 60})
		ended <- got
	}()
	if _, _, err := a.leaseFrom(t.Context(), 1, 1); err != nil { // takes a second, in which the long poll has begun
		t.Error(err)
	}
	stays.terminate()
	if code := stays.wait(); code != 0 || strings.Contains(stays.stderr.String(), "requests were cut off") {
		t.Errorf("with a long poll open the node ended with %d, and cut it off", code)
	}
	if got := <-ended; got.problem() != "draining" {
		t.Errorf("the long poll was answered %s", got)
	}
}

// python returns the interpreter, or skips the test where there is none: the examples are in Python, Atlas is not.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed, so the example worker in Python is not run")
	}
	return path
}

// TestTheWorkerInPythonWorks runs deploy/examples/worker.py as it is. The URL it calls fails the first time. In the end the
// worker is told to stop in the middle of a message, with Atlas gone: it does not try to answer for ever.
func TestTheWorkerInPythonWorks(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	settings, _ := shared(t)
	p := serve(t, settings...)
	admin := createAdmin(t, p, settings, "root@example.com")
	made := admin.makeKey(t, "/v1/admin/api-keys", map[string]any{"name": "Webhook", "scopes": []string{"subscriptions:use"}})

	type call struct{ key, document string }
	calls := make(chan call, 10)
	var answered atomic.Int32
	last, release := context.WithCancel(context.Background())
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			DocumentID string `json:"document_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if answered.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		calls <- call{r.Header.Get("Idempotency-Key"), body.DocumentID}
		if answered.Load() == 3 {
			<-last.Done()
		}
	}))
	t.Cleanup(hook.Close)
	t.Cleanup(release)

	out := &watchtest.Output{}
	worker := exec.CommandContext(t.Context(), interpreter, "-B", filepath.Join("..", "..", "deploy", "examples", "worker.py"))
	worker.Env = append(os.Environ(), "ATLAS_URL="+p.url(), "ATLAS_KEY="+made.Key, "WEBHOOK_URL="+hook.URL, "LEASE=10", "no_proxy=127.0.0.1")
	worker.Stdout, worker.Stderr = out, out
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker wrote\n%s", out)
		}
	})
	var written receipt
	into(t, &written, admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{Title: "Plan", Body: "Ship it."}))
	next := func() (c call) {
		select {
		case c = <-calls:
		case <-time.After(patience):
			t.Fatal("the worker calls nobody")
		}
		return c
	}
	failed, again := next(), next()
	if failed.document != written.ID.String() || failed.key == "" || again != failed {
		t.Errorf("called with %+v and then %+v, want document %s and the same key twice", failed, again, written.ID)
	}
	watchtest.Eventually(t, patience, "the worker says that it is done", func() bool { return strings.Contains(out.String(), "ack document-") })
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{Title: "Plan", Body: "Ship it."})
	next()
	p.kill()
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	release()
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

// TestTheRequestsInTheDocsOfWorkersWork runs what docs/workers.md shows for a shell.
func TestTheRequestsInTheDocsOfWorkersWork(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "workers.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "## In any language\n")
	_, script, fenced := strings.Cut(section, "```sh\n")
	script, _, ends := strings.Cut(script, "```\n")
	if !found || !fenced || !ends {
		t.Fatal("docs/workers.md shows no requests under In any language")
	}
	settings, _ := shared(t)
	p := serve(t, settings...)
	admin := createAdmin(t, p, settings, "root@example.com")
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{Title: "Plan", Body: "Ship it."})
	shell := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script)
	shell.Env = append(os.Environ(), "BASE="+p.url(), "admin="+admin.access)
	out, err := shell.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `["document.created","document-`) {
		t.Errorf("%v\n%s", err, out)
	}
}
