package readapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

const history = "GET /v1/documents/{id}/history"

// change is one entry of a history.
type change struct {
	Position int64
	Version  int64
	Type     string
	At       time.Time
	ActorID  *uuid.UUID `json:"actor_id"`
	Changes  map[string]any
}

func TestDocumentHistoryIsOldestFirst(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	id, positions, times := story(t, a)
	a.CatchUp(t) // its owner may read the history of a deleted document too
	got := apptest.Read[page[change]](t, a.Do(t, apptest.Scenario{Call: "GET /v1/documents/" + id + "/history", As: ann, Status: 200}))
	want := page[change]{Data: []change{
		{positions[0], 1, "document.created", times[0], &ann, map[string]any{
			"title": "Plan", "body_bytes": 3.0, "content_type": "text/markdown", "tags": []any{},
		}},
		{positions[1], 2, "document.revised", times[1], &ann, map[string]any{
			"title": "Plan B", "body_bytes": 3.0, "content_type": "text/markdown", "tags": []any{},
		}},
		{positions[2], 3, "document.deleted", times[2], &ann, map[string]any{"status": "deleted"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An older release serves what it can beside a newer one, and tells what only that one can read from what is broken.
func TestWhatANewerReleaseWroteIsForItToServe(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for what, change := range map[string]string{"a newer shape": `schema_version = 99`, "an unknown type": `type = 'document.printed'`} {
		id := a.Stream(t, plan, revised)
		path := "/v1/documents/" + id.String()
		_, err := a.Pool.Exec(t.Context(), `SET LOCAL session_replication_role = replica; UPDATE atlas.events SET `+change+
			` WHERE version = 2 AND stream = 'document-`+id.String()+`'`)
		if err != nil {
			t.Fatal(err)
		}
		a.Do(t, apptest.Scenario{
			Name: "revise behind " + what, Call: "PUT " + path, As: ann, Body: `{"title":"Plan C","body":"three"}`,
			Status: 503, Code: "written_by_newer_release",
		})
		a.Do(t, apptest.Scenario{
			Name: "read up to " + what, Call: "GET " + path + "?as_of=" + time.Now().UTC().Format(time.RFC3339Nano), As: ann,
			Headers: map[string]string{"Prefer": ""}, Status: 503, Code: "written_by_newer_release",
		})
	}
}

func TestWhatIsInADetachedPartIsSaidToBeAway(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	path := "/v1/documents/" + a.Stream(t, plan, revised).String()
	if _, err := a.Pool.Exec(t.Context(), `SELECT setval('atlas.events_position', 40000000)`); err != nil {
		t.Fatal(err)
	}
	if err := a.Store.DetachPart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	a.Do(t, apptest.Scenario{
		Name: "revise", Call: "PUT " + path, As: ann, Body: `{"title":"Plan C","body":"three"}`, Status: 503, Code: "part_detached",
	})
}

func TestDocumentHistory(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	long := a.Stream(t, plan, archived, events.DocumentRestored{OwnerID: ann}, revised, deleted)
	other := a.Stream(t, plan, revised)
	at := func(id uuid.UUID) string { return "GET /v1/documents/" + id.String() + "/history" }
	var versions []int64
	var cursor string
	for next := at(long) + "?limit=2"; next != ""; {
		p := apptest.Read[page[change]](t, a.Do(t, apptest.Scenario{Call: next, As: ann, Status: 200}))
		for _, c := range p.Data {
			versions = append(versions, c.Version)
		}
		if next = ""; p.HasMore {
			cursor = *p.NextCursor
			next = at(long) + "?limit=2&cursor=" + cursor
		}
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	refused := []string{"cursor invalid_format"}
	a.Run(t,
		apptest.Scenario{Name: "a document that never was", Call: history, As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "a stranger's", Given: given(plan), Call: history, As: bob, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "a stranger's that is deleted", Given: given(plan, deleted), Call: history, As: bob, Status: 404, Code: "not_found"},
		apptest.Scenario{
			Name: "another document's cursor", Call: at(other) + "?cursor=" + cursor, As: ann, Status: 400, Code: "invalid_parameter", Fields: refused,
		},
		apptest.Scenario{
			Name: "another user's cursor", Call: at(long) + "?cursor=" + cursor, As: bob, Status: 400, Code: "invalid_parameter", Fields: refused,
		},
		apptest.Scenario{
			Name: "a cursor of junk", Call: at(long) + "?cursor=junk", As: ann, Status: 400, Code: "invalid_parameter", Fields: refused,
		},
		apptest.Scenario{Name: "nobody's", Given: given(plan), Call: history, Status: 401, Code: "unauthenticated"},
	)
}
