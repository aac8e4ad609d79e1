package readapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/apptest"
)

const readOne = "GET /v1/documents/{id}"

func TestReadDocument(t *testing.T) {
	t.Parallel()
	apptest.New(t).Run(t,
		apptest.Scenario{
			Name: "as it was created", Given: given(plan), Call: readOne, As: ann, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				got := apptest.Read[document](t, a)
				want := document{
					ID: a.Given, Title: "Plan", Body: "Ship it.", ContentType: "text/plain", Tags: []string{"q4"}, Status: "active",
					OwnerID: ann, Version: 1, CreatedAt: got.CreatedAt, UpdatedAt: got.CreatedAt,
				}
				if diff := cmp.Diff(want, got); diff != "" || got.CreatedAt.IsZero() || got.CreatedAt.Location() != time.UTC {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if a.ETag() != `"1"` || a.Header.Get("Cache-Control") != "private, no-cache" {
					t.Errorf("got ETag %s, Cache-Control %q", a.ETag(), a.Header.Get("Cache-Control"))
				}
			},
		},
		apptest.Scenario{
			Name: "as it became", Given: given(plan, revised, archived), Call: readOne, As: ann, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				got := apptest.Read[document](t, a)
				want := document{
					ID: a.Given, Title: "Plan B", Body: "Später.", ContentType: "text/markdown", Tags: []string{}, Status: "archived",
					OwnerID: ann, Version: 3, CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt,
				}
				if diff := cmp.Diff(want, got); diff != "" || got.UpdatedAt.Before(got.CreatedAt) {
					t.Errorf("(-want +got):\n%s", diff)
				}
			},
		},
		apptest.Scenario{
			Name: "what the caller has is not sent again", Given: given(plan), Call: readOne, As: ann, Headers: header("If-None-Match", `"7", W/"1"`),
			Status: 304, Then: func(t *testing.T, a apptest.Answer) {
				if a.Body != "" || a.ETag() != `"1"` {
					t.Errorf("got ETag %s and %q", a.ETag(), a.Body)
				}
			},
		},
		apptest.Scenario{
			Name: "what changed is", Given: given(plan, revised), Call: readOne, As: ann, Headers: header("If-None-Match", `"1"`), Status: 200,
		},
		apptest.Scenario{
			Name: "a tag that is none is refused", Given: given(plan), Call: readOne, As: ann, Headers: header("If-None-Match", "1"),
			Status: 400, Code: "invalid_parameter", Fields: []string{"If-None-Match invalid_format"},
		},
		apptest.Scenario{
			Name: "HEAD is a GET without the body", Given: given(plan), Call: "HEAD /v1/documents/{id}", As: ann, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				if a.Body != "" || a.ETag() != `"1"` {
					t.Errorf("got ETag %s and %q", a.ETag(), a.Body)
				}
			},
		},
		apptest.Scenario{Name: "a deleted one is gone", Given: given(plan, deleted), Call: readOne, As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "one that never was is not there", Call: readOne, As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{
			Name: "an id that is none is refused", Call: "GET /v1/documents/7", As: ann,
			Status: 400, Code: "invalid_parameter", Fields: []string{"id invalid_format"},
		},
		apptest.Scenario{Name: "nobody reads nothing", Given: given(plan), Call: readOne, Status: 401, Code: "unauthenticated"},
	)
}

func TestStrangersDocumentIsNotFoundForEveryRead(t *testing.T) {
	t.Parallel()
	var scenarios []apptest.Scenario
	for _, call := range []string{
		readOne, "HEAD /v1/documents/{id}", readOne + "?as_of=3", readOne + "/history",
	} {
		s := apptest.Scenario{Call: call, As: bob, Status: 404, Code: "not_found"}
		if call == "HEAD /v1/documents/{id}" {
			s.Code = ""
		}
		for _, match := range []string{"", `"1"`, "*"} {
			s.Name = call + " " + match
			if s.Headers = nil; match != "" {
				s.Headers = header("If-None-Match", match)
			}
			s.Given = given(plan)
			scenarios = append(scenarios, s)
			s.Name, s.Given = "deleted "+s.Name, given(plan, deleted)
			scenarios = append(scenarios, s)
		}
	}
	apptest.New(t).Run(t, scenarios...)
}

// story is a document that was created, revised and deleted, each by a request of its own.
func story(t *testing.T, a *apptest.Atlas) (id string, positions []int64, times []time.Time) {
	t.Helper()
	made := a.Do(t, apptest.Scenario{
		Call: "POST /v1/documents", As: ann, Body: `{"title":"Plan","body":"one"}`, Status: 201, Types: []string{"document.created"},
	})
	path := made.Header.Get("Location")
	a.Do(t, apptest.Scenario{Call: "PUT " + path, As: ann, Body: `{"title":"Plan B","body":"two"}`, Status: 200, Types: []string{"document.revised"}})
	a.Do(t, apptest.Scenario{Call: "DELETE " + path, As: ann, Status: 204, Types: []string{"document.deleted"}})
	id = path[len("/v1/documents/"):]
	for _, r := range a.Recorded(t, "document", uuid.MustParse(id)) {
		positions, times = append(positions, r.Position), append(times, r.At)
	}
	return id, positions, times
}

func TestReadDocumentAsItWas(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	id, positions, times := story(t, a)
	at := func(when any) string {
		if tm, is := when.(time.Time); is {
			when = tm.Format(time.RFC3339Nano)
		}
		return fmt.Sprintf("GET /v1/documents/%s?as_of=%v", id, when)
	}
	is := func(title string, version int64) func(*testing.T, apptest.Answer) {
		return func(t *testing.T, a apptest.Answer) {
			if got := apptest.Read[document](t, a); got.Title != title || got.Version != version || a.ETag() != fmt.Sprintf(`"%d"`, version) {
				t.Errorf("got %q, version %d, ETag %s; want %q, %d", got.Title, got.Version, a.ETag(), title, version)
			}
		}
	}
	const tick = time.Microsecond
	a.Run(t,
		apptest.Scenario{Name: "before its first position", Call: at(positions[0] - 1), As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "at its first position", Call: at(positions[0]), As: ann, Status: 200, Then: is("Plan", 1)},
		apptest.Scenario{Name: "before the second", Call: at(positions[1] - 1), As: ann, Status: 200, Then: is("Plan", 1)},
		apptest.Scenario{Name: "at the second", Call: at(positions[1]), As: ann, Status: 200, Then: is("Plan B", 2)},
		apptest.Scenario{Name: "before its end", Call: at(positions[2] - 1), As: ann, Status: 200, Then: is("Plan B", 2)},
		apptest.Scenario{Name: "at its end", Call: at(positions[2]), As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "just before it was created", Call: at(times[0].Add(-tick)), As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "when it was created", Call: at(times[0]), As: ann, Status: 200, Then: is("Plan", 1)},
		apptest.Scenario{Name: "just before it was revised", Call: at(times[1].Add(-tick)), As: ann, Status: 200, Then: is("Plan", 1)},
		apptest.Scenario{Name: "when it was revised", Call: at(times[1]), As: ann, Status: 200, Then: is("Plan B", 2)},
		apptest.Scenario{Name: "in another zone", Call: at(times[1].In(time.FixedZone("", -5*3600))), As: ann, Status: 200, Then: is("Plan B", 2)},
		apptest.Scenario{Name: "just before it was deleted", Call: at(times[2].Add(-tick)), As: ann, Status: 200, Then: is("Plan B", 2)},
		apptest.Scenario{Name: "when it was deleted", Call: at(times[2]), As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "long ago", Call: at("1970-01-01T00:00:00Z"), As: ann, Status: 404, Code: "not_found"},
		apptest.Scenario{
			Name: "what the caller has is not sent again", Call: at(positions[1]), As: ann, Headers: header("If-None-Match", `"2"`), Status: 304,
		},
		apptest.Scenario{Name: "a stranger learns nothing", Call: at(positions[0]), As: bob, Status: 404, Code: "not_found"},
		apptest.Scenario{Name: "a future position", Call: at(1 << 40), As: ann, Status: 400, Code: "position_in_future"},
		apptest.Scenario{Name: "a future time", Call: at(time.Now().Add(time.Hour).UTC()), As: ann, Status: 400, Code: "position_in_future"},
	)
	for _, junk := range []string{"0", "-1", "1.5", "yesterday", "2026-01-31", "99999999999999999999", "2026-13-01T00:00:00Z", "0x10", "%20"} {
		t.Run("junk "+junk, func(t *testing.T) {
			t.Parallel()
			a.Do(t, apptest.Scenario{Call: at(junk), As: ann, Status: 400, Code: "invalid_parameter", Fields: []string{"as_of invalid_format"}})
		})
	}
}

func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for range 20 {
		made := a.Do(t, apptest.Scenario{
			Call: "POST /v1/documents", As: ann, Body: `{"title":"Plan","body":"one"}`, Status: 201, Types: []string{"document.created"},
		})
		a.Do(t, apptest.Scenario{Call: "GET " + made.Header.Get("Location"), As: ann, Headers: made.After(), Status: 200})
	}
	for _, call := range []string{"GET /v1/documents", "GET /v1/documents/" + uuid.NewString(), "GET /v1/documents/" + uuid.NewString() + "/history", "GET /v1/me"} {
		a.Do(t, apptest.Scenario{Call: call, As: ann, Headers: header("Atlas-Min-Position", "9000000000"), Status: 400, Code: "position_in_future"})
		for value, code := range map[string]string{"-1": "too_small", "x": "wrong_type", "1.5": "wrong_type", "99999999999999999999": "wrong_type"} {
			a.Do(t, apptest.Scenario{
				Call: call, As: ann, Headers: header("Atlas-Min-Position", value),
				Status: 400, Code: "invalid_parameter", Fields: []string{"Atlas-Min-Position " + code},
			})
		}
	}
}
