package main_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// The two nodes are started at once on an empty database, so they also migrate it and make its keys together.
func TestTwoNodesShareOneDatabase(t *testing.T) {
	t.Parallel()
	settings := onFreePorts([]string{
		"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(t),
		"ATLAS_DEV=1",
		"ATLAS_DATA_DIR=" + dataDir(t),
		"ATLAS_PUBLIC_URL=http://atlas.example.com",
	})
	a, b := start(t, settings, "serve"), start(t, settings, "serve")
	a.awaitReady(patience)
	b.awaitReady(patience)
	here := signUp(t, a.url(), "ann@example.com")
	there := here.at(b.url())

	plan := content{Title: "Plan", Body: "Ship it."}
	var created receipt
	first := here.must(t, http.StatusCreated, "POST", "/v1/documents", plan, "Idempotency-Key", "plan")
	into(t, &created, first)

	t.Run("a write through one is read through the other at once", func(t *testing.T) {
		var got document
		into(t, &got, there.must(t, http.StatusOK, "GET", first.header.Get("Location"), nil, after(first.header.Get("Atlas-Position"), 30)...))
		if want := (document{created.ID, plan.Title, plan.Body, "active", 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("a key used at one is known to the other", func(t *testing.T) {
		again := there.must(t, http.StatusCreated, "POST", "/v1/documents", plan, "Idempotency-Key", "plan")
		if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("the retry is no replay (-first +again):\n%s%v", diff, again.header)
		}
	})
	t.Run("turns of writing are each read by the other at once", func(t *testing.T) {
		nodes := []*client{here, there}
		for version := int64(2); version < 22; version++ {
			said := content{Title: fmt.Sprintf("Plan %d", version), Body: "Ship it."}
			path := "/v1/documents/" + created.ID.String()
			w := nodes[version%2].must(t, http.StatusOK, "PUT", path, said, "If-Match", fmt.Sprintf(`"%d"`, version-1))
			var got document
			into(t, &got, nodes[(version+1)%2].must(t, http.StatusOK, "GET", path, nil, after(w.header.Get("Atlas-Position"), 30)...))
			if got.Version != version || got.Title != said.Title {
				t.Errorf("got version %d %q, want %d %q", got.Version, got.Title, version, said.Title)
			}
		}
	})
	t.Run("a session ended at one is refused by the other within a second", func(t *testing.T) {
		here.must(t, http.StatusNoContent, "POST", "/v1/auth/logout", nil)
		watchtest.Soon(t, time.Second, "the other node refuses the token", func() bool {
			a, err := there.do(t.Context(), "GET", "/v1/me", nil)
			return err == nil && a.status == http.StatusUnauthorized && a.problem() == "token_revoked"
		})
	})
}
