package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

const (
	burstClients = 16
	burstWrites  = 2000
)

// burst is many clients writing at once, each of which repeats a request, under the same key, until it is answered.
type burst struct {
	base    atomic.Value // string: where the API is now
	writes  [burstClients][]*write
	acked   atomic.Int64
	turn    int64         // the write after whose answer something goes wrong
	reached chan struct{} // closed then
}

// write is one request of a burst, what it is to do, and what it was answered.
type write struct {
	method  string
	of      *write // created the document that this one changes; nil for such a one itself
	action  string // what follows the document's path
	body    any
	headers []string

	event string   // what it adds to the log
	says  document // the document after it, but for its id

	tries  int
	answer receipt
}

// newBurst plans the writes of some users: documents that are created, revised, revised if nobody else did, and archived.
func newBurst(users []*client) *burst {
	b := &burst{turn: burstWrites/4 + rand.Int64N(burstWrites/2), reached: make(chan struct{})}
	for i := range b.writes {
		for n := range burstWrites / burstClients {
			b.writes[i] = append(b.writes[i], planned(b.writes[i], fmt.Sprintf("client-%d-write-%d", i, n)))
		}
	}
	for _, u := range users {
		u.base = func() string { return b.base.Load().(string) }
	}
	return b
}

// planned returns the write that follows those before.
func planned(before []*write, text string) *write {
	said := content{Title: text, Body: "The body of " + text}
	key := []string{"Idempotency-Key", text}
	done := len(before) % 4 // to the same document
	if done == 0 {
		return &write{method: "POST", body: said, headers: key, event: "document.created",
			says: document{Title: said.Title, Body: said.Body, Status: "active", Version: 1}}
	}
	w := &write{method: "PUT", of: before[len(before)-done], body: said, headers: key, event: "document.revised",
		says: document{Title: said.Title, Body: said.Body, Status: "active", Version: int64(done + 1)}}
	switch done {
	case 2:
		w.headers = append(w.headers, "If-Match", `"2"`)
	case 3:
		w.method, w.action, w.body, w.event = "POST", "/archive", nil, "document.archived"
		w.says = before[len(before)-1].says
		w.says.Status, w.says.Version = "archived", 4
	}
	return w
}

func (w *write) path() string {
	if w.of == nil {
		return "/v1/documents"
	}
	return "/v1/documents/" + w.of.answer.ID.String() + w.action
}

// send makes the request once.
func (w *write) send(ctx context.Context, user *client) (answer, error) {
	return user.do(ctx, w.method, w.path(), w.body, w.headers...)
}

// run makes all writes, and returns when each has its answer.
func (b *burst) run(ctx context.Context, users []*client) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, writes := range b.writes {
		g.Go(func() error {
			for _, w := range writes {
				if err := w.make(ctx, users[i%len(users)]); err != nil {
					return err
				}
				if b.acked.Add(1) == b.turn {
					close(b.reached)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// make sends the write until it is answered: no answer, or one that says to try again, is followed by another try.
func (w *write) make(ctx context.Context, user *client) error {
	for {
		w.tries++
		a, err := w.send(ctx, user)
		switch {
		case err == nil && a.status < 300:
			return json.Unmarshal(a.body, &w.answer)
		case err == nil && a.status < 500:
			return fmt.Errorf("%s %s, try %d: %s", w.method, w.path(), w.tries, a)
		}
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s, try %d: %w; before: %v %v", w.method, w.path(), w.tries, context.Cause(ctx), a, err)
		case <-pause.C:
		}
	}
}

// all lists the writes of all clients.
func (b *burst) all() []*write { return slices.Concat(b.writes[:]...) }

// repeated counts the writes that were not answered at first.
func (b *burst) repeated() (n int) {
	for _, w := range b.all() {
		if w.tries > 1 {
			n++
		}
	}
	return n
}

// checkRetries makes every write again: the answer is the first one.
func (b *burst) checkRetries(t *testing.T, users []*client) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for i, writes := range b.writes {
		g.Go(func() error {
			for _, w := range writes {
				a, err := w.send(ctx, users[i%len(users)])
				if err != nil {
					return err
				}
				var again receipt
				err = json.Unmarshal(a.body, &again)
				if err != nil || again != w.answer || a.header.Get("Idempotency-Replayed") != "true" {
					return fmt.Errorf("%s %s again: got %s, want a replay of %+v", w.method, w.path(), a, w.answer)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// checkReads reads every document: it says what was written last.
func (b *burst) checkReads(t *testing.T, users []*client) {
	t.Helper()
	for i, writes := range b.writes {
		for n, w := range writes {
			if n+1 < len(writes) && writes[n+1].of != nil {
				continue // the next is the same document's
			}
			want := w.says
			want.ID = w.answer.ID
			var got document
			into(t, &got, users[i%len(users)].must(t, http.StatusOK, "GET", "/v1/documents/"+want.ID.String(), nil, after(w.answer.Position, 30)...))
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	}
}

// logged is an event as the log has it, or as its writer was told.
type logged struct {
	Position int64
	Stream   string
	Version  int64
	Type     string
}

// checkLog holds that the log has every write where its answer says, and no other.
func (b *burst) checkLog(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	const q = `
		SELECT position, stream, version, type FROM atlas.events
		WHERE stream LIKE 'document-%' ORDER BY position`
	rows, err := db.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[logged])
	if err != nil {
		t.Fatal(err)
	}
	var want []logged
	for _, w := range b.all() {
		if w.answer.Version != w.says.Version {
			t.Errorf("%s %s: answered version %d, want %d", w.method, w.path(), w.answer.Version, w.says.Version)
		}
		want = append(want, logged{w.answer.Position, "document-" + w.answer.ID.String(), w.says.Version, w.event})
	}
	slices.SortFunc(want, func(a, b logged) int { return int(a.Position - b.Position) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log is not what the clients were told (-told +logged):\n%.4000s", diff)
	}
}
