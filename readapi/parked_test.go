package readapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

// refuse has the table of documents refuse the title "poison", as a fault in a view would.
func refuse(t *testing.T, a *apptest.Atlas) (mend func()) {
	t.Helper()
	const find = `
		SELECT oid::regclass::text FROM pg_class
		WHERE relnamespace = 'read'::regnamespace AND relkind = 'r' AND relname ~ '^documents_v[0-9]+(_g[0-9]+)?$'`
	var table string
	if err := a.Pool.QueryRow(t.Context(), find).Scan(&table); err != nil {
		t.Fatal(err)
	}
	run := func(q string) {
		t.Helper()
		if _, err := a.Pool.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	run(`ALTER TABLE ` + table + ` ADD CONSTRAINT no_poison CHECK (title <> 'poison')`)
	return func() { run(`ALTER TABLE ` + table + ` DROP CONSTRAINT no_poison`) }
}

func TestReadersOfAParkedRowAreTold(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	mend := refuse(t, a)
	sound, parked := a.Stream(t, plan), a.Stream(t, plan, events.DocumentRevised{OwnerID: ann, Title: "poison", ContentType: "text/plain"})
	unmade := a.Stream(t, events.DocumentCreated{OwnerID: ann, Title: "poison", ContentType: "text/plain"})
	stale := func(call string, want string) {
		t.Helper()
		answer := a.Do(t, apptest.Scenario{Call: call, As: ann, Status: 200})
		if got := answer.Header.Get("Atlas-Stale"); got != want {
			t.Errorf("%s: got Atlas-Stale %q, want %q", call, got, want)
		}
	}
	stale(fmt.Sprint("GET /v1/documents/", parked), "true")
	stale(fmt.Sprint("GET /v1/documents/", sound), "")
	stale("GET /v1/documents", "true")
	stale(fmt.Sprint("GET /v1/documents/", parked, "/history"), "")
	stale("GET /v1/me", "")
	a.Do(t, apptest.Scenario{Call: fmt.Sprint("GET /v1/documents/", unmade), As: ann, Status: 503, Code: "row_parked"})
	for _, id := range []any{parked, unmade} {
		a.Do(t, apptest.Scenario{Call: fmt.Sprint("GET /v1/documents/", id), As: bob, Status: 404, Code: "not_found", Then: func(t *testing.T, answer apptest.Answer) {
			if got := answer.Header.Get("Atlas-Stale"); got != "" {
				t.Errorf("a stranger is told Atlas-Stale %q", got)
			}
		}})
	}

	admin := a.AdminToken(t, bob)
	type state struct {
		Name   string `json:"name"`
		Parked int    `json:"parked"`
		Delay  struct {
			Events int    `json:"events"`
			Node   string `json:"node"`
			Cause  string `json:"cause"`
		} `json:"delay"`
	}
	listed := apptest.Read[struct {
		Data []state `json:"data"`
	}](t, a.Do(t, apptest.Scenario{Call: "GET /v1/admin/projections", Token: admin, Status: 200}))
	for _, s := range listed.Data {
		want := state{Name: s.Name}
		want.Delay.Node = s.Delay.Node
		if s.Name == "documents" {
			want.Parked, want.Delay.Cause = 2, s.Delay.Cause
			if first := fmt.Sprintf(`2 parked keys lack events; the first is {"id":"%s"}, since event `, parked); !strings.HasPrefix(s.Delay.Cause, first) {
				t.Errorf("got the cause %q, want one that begins %q", s.Delay.Cause, first)
			}
		}
		if s != want || s.Delay.Node == "" {
			t.Errorf("got %+v, want %+v on some node", s, want)
		}
	}
	type key struct {
		Key     json.RawMessage `json:"key"`
		Error   string          `json:"error"`
		Waiting int             `json:"waiting"`
	}
	type page struct {
		Data []key   `json:"data"`
		Next *string `json:"next_cursor"`
	}
	first := apptest.Read[page](t, a.Do(t, apptest.Scenario{Call: "GET /v1/admin/projections/documents/parked?limit=1", Token: admin, Status: 200}))
	if len(first.Data) != 1 || first.Data[0].Waiting != 1 || first.Next == nil {
		t.Fatalf("got %+v, want one key of two", first)
	}
	second := apptest.Read[page](t, a.Do(t, apptest.Scenario{Call: "GET /v1/admin/projections/documents/parked?limit=1&cursor=" + *first.Next, Token: admin, Status: 200}))
	if len(second.Data) != 1 || second.Next != nil {
		t.Fatalf("got %+v, want the other", second)
	}
	retry := func(body string, want map[string]any) {
		t.Helper()
		got := apptest.Read[map[string]any](t, a.Do(t, apptest.Scenario{Call: "POST /v1/admin/projections/documents/retry", Token: admin, Body: body, Status: 200}))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("retry of %s: got %v, want %v", body, got, want)
		}
	}
	retry("", map[string]any{"healed": 0, "failed": 2})
	mend()
	retry(fmt.Sprintf(`{"key":%s}`, second.Data[0].Key), map[string]any{"healed": 1, "failed": 0})
	retry(`{"error":"no such error"}`, map[string]any{"healed": 0, "failed": 0})
	retry(`{"error":"no_poison"}`, map[string]any{"healed": 1, "failed": 0})
	for _, id := range []any{parked, unmade} {
		got := apptest.Read[document](t, a.Do(t, apptest.Scenario{Call: fmt.Sprint("GET /v1/documents/", id), As: ann, Status: 200}))
		if got.Title != "poison" {
			t.Errorf("healed, the document has the title %q", got.Title)
		}
	}
}

func TestOnlyAdminsSeeToProjections(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for _, call := range []string{"GET /v1/admin/projections", "GET /v1/admin/projections/documents/parked", "POST /v1/admin/projections/documents/retry"} {
		a.Do(t, apptest.Scenario{Call: call, As: ann, Status: 403, Code: "permission_denied"})
	}
	admin := a.AdminToken(t, ann)
	a.Do(t, apptest.Scenario{Call: "GET /v1/admin/projections/nosuch/parked", Token: admin, Status: 404, Code: "projection_unknown"})
	a.Do(t, apptest.Scenario{Call: "POST /v1/admin/projections/nosuch/retry", Token: admin, Status: 404, Code: "projection_unknown"})
}
