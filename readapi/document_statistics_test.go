package readapi_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/apptest"
)

const statistics = "GET /v1/me/documents/statistics"

// totals is what a user's documents come to.
type totals struct {
	Active    int64
	Archived  int64
	BodyBytes int64      `json:"body_bytes"`
	ChangedAt *time.Time `json:"changed_at"`
}

// TestYourDocumentsAreCountedAsYouWroteThem writes over HTTP and reads after each write what it comes to.
func TestYourDocumentsAreCountedAsYouWroteThem(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	read := func(as uuid.UUID, headers map[string]string) totals {
		t.Helper()
		return apptest.Read[totals](t, a.Do(t, apptest.Scenario{Call: statistics, As: as, Headers: headers, Status: 200}))
	}
	if got := read(ann, nil); got != (totals{}) {
		t.Errorf("before there was any: got %+v", got)
	}
	path := "/v1/documents"
	var changed time.Time
	for _, step := range []struct {
		call, path, body, wrote string
		status                  int
		want                    totals
	}{
		{"POST ", "", `{"title":"Plan","body":"Größe"}`, "created", 201, totals{Active: 1, BodyBytes: 7}},
		{"PUT ", "", `{"title":"Plan","body":"Ship it."}`, "revised", 200, totals{Active: 1, BodyBytes: 8}},
		{"POST ", "/archive", "", "archived", 200, totals{Archived: 1, BodyBytes: 8}},
		{"POST ", "/restore", "", "restored", 200, totals{Active: 1, BodyBytes: 8}},
		{"DELETE ", "", "", "deleted", 204, totals{}},
	} {
		call := step.call + path + step.path
		answer := a.Do(t, apptest.Scenario{Call: call, Body: step.body, As: ann, Status: step.status, Types: []string{"document." + step.wrote}})
		path = cmp.Or(answer.Header.Get("Location"), path)
		got := read(ann, answer.After())
		if got.ChangedAt == nil || got.ChangedAt.Before(changed) {
			t.Fatalf("after %s: changed at %v, and before that at %v", call, got.ChangedAt, changed)
		}
		changed, got.ChangedAt = *got.ChangedAt, nil
		if got != step.want {
			t.Errorf("after %s: got %+v, want %+v", call, got, step.want)
		}
		if others := read(bob, answer.After()); others != (totals{}) {
			t.Errorf("after %s: Bob, who has none, reads %+v", call, others)
		}
	}
	a.Do(t, apptest.Scenario{Call: statistics, Status: 401, Code: "unauthenticated"})
	a.Do(t, apptest.Scenario{Call: statistics, As: ann, Headers: header("Atlas-Min-Position", "9000000000"), Status: 400, Code: "position_in_future"})
}

// TestStatisticsThatLackAnEventSaySo has the table refuse a document of Ann's, as a fault in the view would.
func TestStatisticsThatLackAnEventSaySo(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	const refuse = `ALTER TABLE read.document_statistics_v1_g1 ADD CONSTRAINT no_plan CHECK (body_bytes <> 8)`
	if _, err := a.Pool.Exec(t.Context(), refuse); err != nil {
		t.Fatal(err)
	}
	a.Stream(t, plan)
	for user, want := range map[uuid.UUID]string{ann: "true", bob: ""} {
		answer := a.Do(t, apptest.Scenario{Call: statistics, As: user, Status: 200})
		if got := answer.Header.Get("Atlas-Stale"); got != want {
			t.Errorf("got Atlas-Stale %q, want %q", got, want)
		}
	}
}
