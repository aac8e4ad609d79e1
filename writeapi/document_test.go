package writeapi_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

// written is the answer to a write.
type written struct {
	ID                uuid.UUID
	Version, Position int64
}

func TestCreateDocument(t *testing.T) {
	t.Parallel()
	const create = "POST /v1/documents"
	apptest.New(t).Run(t,
		apptest.Scenario{
			Name: "all that is sent is kept", Call: create, As: ann,
			Body:   `{"title":"Plan","body":"<b>Ship it.</b>","content_type":"text/html","tags":["q4","ops"]}`,
			Status: 201,
			Appended: given(events.DocumentCreated{
				OwnerID: ann, Title: "Plan", Body: "<b>Ship it.</b>", ContentType: "text/html", Tags: []string{"q4", "ops"},
			}),
			Then: func(t *testing.T, a apptest.Answer) {
				w := apptest.Read[written](t, a)
				if w.ID == uuid.Nil || w.Version != 1 || w.Position == 0 {
					t.Errorf("got %+v", w)
				}
				if got, want := a.Header.Get("Location"), "/v1/documents/"+w.ID.String(); got != want || a.ETag() != `"1"` {
					t.Errorf("got Location %q, ETag %s; want %q, \"1\"", got, a.ETag(), want)
				}
			},
		},
		apptest.Scenario{
			Name: "it is Markdown without tags unless said otherwise", Call: create, As: ann,
			Body: `{"title":"Plan","body":""}`, Status: 201,
			Appended: given(events.DocumentCreated{OwnerID: ann, Title: "Plan", ContentType: "text/markdown"}),
		},
		apptest.Scenario{
			Name: "a title is needed, and a body", Call: create, As: ann, Body: `{}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/title required", "/body required"},
		},
		apptest.Scenario{
			Name: "an empty title is none", Call: create, As: ann, Body: `{"title":"","body":""}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/title too_short"},
		},
		apptest.Scenario{
			Name: "a title is up to 200 characters", Call: create, As: ann, Body: `{"title":"` + strings.Repeat("ä", 200) + `","body":""}`,
			Status: 201, Types: []string{"document.created"},
		},
		apptest.Scenario{
			Name: "a title is not longer", Call: create, As: ann, Body: `{"title":"` + strings.Repeat("ä", 201) + `","body":""}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/title too_long"},
		},
		apptest.Scenario{
			Name: "tags are 20 at most", Call: create, As: ann, Body: `{"title":"a","body":"","tags":[` + strings.Repeat(`"a",`, 20) + `"a"]}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/tags too_many"},
		},
		apptest.Scenario{
			Name: "a tag is 1 to 50 characters", Call: create, As: ann,
			Body:   `{"title":"a","body":"","tags":["","` + strings.Repeat("ä", 51) + `"]}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/tags/0 too_short", "/tags/1 too_long"},
		},
		apptest.Scenario{
			Name: "a content type is one of those listed", Call: create, As: ann, Body: `{"title":"a","body":"","content_type":"text/x"}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/content_type not_allowed"},
		},
		apptest.Scenario{
			Name: "text that cannot be stored is refused", Call: create, As: ann, Body: `{"title":"a\u0000","body":"\ud800"}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/title invalid_text", "/body invalid_text"},
		},
		apptest.Scenario{
			Name: "nobody creates nothing", Call: create, Body: `{"title":"a","body":""}`, Status: 401, Code: "unauthenticated",
		},
	)
}

func TestDocumentBodyIsUpToOneMebibyte(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for name, c := range map[string]struct {
		escaped, char string
		bytes         int
	}{
		"control characters": {`\u0001`, "\x01", 1},
		"emoji":              {`\ud83d\ude00`, "😀", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 1 << 20 / c.bytes
			made := a.Do(t, apptest.Scenario{
				Call: "POST /v1/documents", As: ann, Body: `{"title":"a","body":"` + strings.Repeat(c.escaped, n) + `"}`,
				Status: 201, Types: []string{"document.created"},
			})
			read := a.Do(t, apptest.Scenario{Call: "GET " + made.Header.Get("Location"), As: ann, Headers: made.After(), Status: 200})
			if got := apptest.Read[struct{ Body string }](t, read).Body; got != strings.Repeat(c.char, n) {
				t.Errorf("got %d bytes that begin %.20q", len(got), got)
			}
			tooMuch := apptest.Scenario{
				Call: "POST /v1/documents", As: ann, Body: `{"title":"a","body":"` + strings.Repeat(c.escaped, n+1) + `"}`,
				Status: 422, Code: "validation_failed", Fields: []string{"/body too_long"},
			}
			if c.bytes > 1 { // the schema counts characters, the rule bytes
				tooMuch.Code = "document_body_too_large"
			}
			a.Do(t, tooMuch)
		})
	}
}

func TestReviseDocument(t *testing.T) {
	t.Parallel()
	const revise = "PUT /v1/documents/{id}"
	revised := events.DocumentRevised{OwnerID: ann, Title: "B", Body: "new", ContentType: "text/markdown"}
	apptest.New(t).Run(t,
		apptest.Scenario{
			Name: "it replaces all, what is left out too", Given: given(plan), Call: revise, As: ann,
			Body: `{"title":"B","body":"new"}`, Status: 200, Appended: given(revised),
			Then: func(t *testing.T, a apptest.Answer) {
				if w := apptest.Read[written](t, a); w.ID != a.Given || w.Version != 2 || a.ETag() != `"2"` {
					t.Errorf("got %+v, ETag %s", w, a.ETag())
				}
			},
		},
		apptest.Scenario{
			Name: "the current version may be insisted on", Given: given(plan), Call: revise, As: ann, Headers: header("If-Match", `"1"`),
			Body: `{"title":"B","body":"new"}`, Status: 200, Appended: given(revised),
		},
		apptest.Scenario{
			Name: "any version may be insisted on", Given: given(plan), Call: revise, As: ann, Headers: header("If-Match", "*"),
			Body: `{"title":"B","body":"new"}`, Status: 200, Appended: given(revised),
		},
		apptest.Scenario{
			Name: "an older version is stale", Given: given(plan, revised), Call: revise, As: ann, Headers: header("If-Match", `"1"`),
			Body: `{"title":"C","body":""}`, Status: 412, Code: "version_mismatch",
		},
		apptest.Scenario{
			Name: "a later version is stale too", Given: given(plan), Call: revise, As: ann, Headers: header("If-Match", `"2"`),
			Body: `{"title":"C","body":""}`, Status: 412, Code: "version_mismatch",
		},
		apptest.Scenario{
			Name: "staleness comes before what the document is", Given: given(plan, events.DocumentArchived{OwnerID: ann}), Call: revise, As: ann,
			Headers: header("If-Match", `"1"`), Body: `{"title":"C","body":""}`, Status: 412, Code: "version_mismatch",
		},
		apptest.Scenario{
			Name: "a precondition that says nothing is refused", Given: given(plan), Call: revise, As: ann, Headers: header("If-Match", "1"),
			Body: `{"title":"C","body":""}`, Status: 400, Code: "invalid_parameter", Fields: []string{"If-Match invalid_format"},
		},
		apptest.Scenario{
			Name: "an archived document is not revised", Given: given(plan, events.DocumentArchived{OwnerID: ann}), Call: revise, As: ann,
			Body: `{"title":"B","body":""}`, Status: 409, Code: "document_archived",
		},
		apptest.Scenario{
			Name: "a restored one is", Given: given(plan, events.DocumentArchived{OwnerID: ann}, events.DocumentRestored{OwnerID: ann}), Call: revise, As: ann,
			Body: `{"title":"B","body":"new"}`, Status: 200, Appended: given(revised),
		},
		apptest.Scenario{
			Name: "what is no document is not found", Call: revise, As: ann, Body: `{"title":"B","body":""}`, Status: 404, Code: "not_found",
		},
		apptest.Scenario{
			Name: "an id that is none is refused", Call: "PUT /v1/documents/7", As: ann, Body: `{"title":"B","body":""}`,
			Status: 400, Code: "invalid_parameter", Fields: []string{"id invalid_format"},
		},
	)
}

func TestArchiveAndRestoreDocument(t *testing.T) {
	t.Parallel()
	const archive, restore = "POST /v1/documents/{id}/archive", "POST /v1/documents/{id}/restore"
	archived := events.DocumentArchived{OwnerID: ann}
	isVersion := func(want string) func(*testing.T, apptest.Answer) {
		return func(t *testing.T, a apptest.Answer) {
			if a.ETag() != want || a.Header.Get("Atlas-Position") == "0" {
				t.Errorf("got ETag %s, position %s; want %s", a.ETag(), a.Header.Get("Atlas-Position"), want)
			}
		}
	}
	apptest.New(t).Run(t,
		apptest.Scenario{
			Name: "archive an active document", Given: given(plan), Call: archive, As: ann,
			Status: 200, Appended: given(archived), Then: isVersion(`"2"`),
		},
		apptest.Scenario{
			Name: "archive an archived one: nothing happens", Given: given(plan, archived), Call: archive, As: ann,
			Status: 200, Then: isVersion(`"2"`),
		},
		apptest.Scenario{
			Name: "restore an archived document", Given: given(plan, archived), Call: restore, As: ann,
			Status: 200, Appended: given(events.DocumentRestored{OwnerID: ann}), Then: isVersion(`"3"`),
		},
		apptest.Scenario{
			Name: "restore an active one: nothing happens", Given: given(plan), Call: restore, As: ann,
			Status: 200, Then: isVersion(`"1"`),
		},
		apptest.Scenario{
			Name: "an empty object is no body", Given: given(plan), Call: archive, As: ann, Body: `{}`,
			Status: 200, Appended: given(archived),
		},
		apptest.Scenario{
			Name: "a stale archive is refused", Given: given(plan, archived), Call: archive, As: ann, Headers: header("If-Match", `"1"`),
			Status: 412, Code: "version_mismatch",
		},
	)
}

func TestDeleteDocument(t *testing.T) {
	t.Parallel()
	const remove = "DELETE /v1/documents/{id}"
	deleted := events.DocumentDeleted{OwnerID: ann}
	scenarios := []apptest.Scenario{
		{
			Name: "delete an active document", Given: given(plan), Call: remove, As: ann, Status: 204, Appended: given(deleted),
			Then: func(t *testing.T, a apptest.Answer) {
				if a.Header.Get("Atlas-Position") == "" || a.Body != "" {
					t.Errorf("got %v %q", a.Header, a.Body)
				}
			},
		},
		{
			Name: "delete an archived document", Given: given(plan, events.DocumentArchived{OwnerID: ann}), Call: remove, As: ann,
			Status: 204, Appended: given(deleted),
		},
		{
			Name: "delete what was changed since", Given: given(plan, events.DocumentArchived{OwnerID: ann}), Call: remove, As: ann,
			Headers: header("If-Match", `"1"`), Status: 412, Code: "version_mismatch",
		},
	}
	for _, call := range everyWrite() {
		scenarios = append(scenarios, apptest.Scenario{
			Name: "deleted: " + call.Call, Given: given(plan, deleted), Call: call.Call, Body: call.Body, As: ann, Status: 404, Code: "not_found",
		})
	}
	apptest.New(t).Run(t, scenarios...)
}

// everyWrite is every write to a document that is there.
func everyWrite() []apptest.Scenario {
	return []apptest.Scenario{
		{Call: "PUT /v1/documents/{id}", Body: `{"title":"Mine","body":"now"}`},
		{Call: "DELETE /v1/documents/{id}"},
		{Call: "POST /v1/documents/{id}/archive"},
		{Call: "POST /v1/documents/{id}/restore"},
	}
}

// A stranger must not learn from a version mismatch what not_found denies.
func TestStrangersDocumentIsNotFoundForEveryWrite(t *testing.T) {
	t.Parallel()
	var scenarios []apptest.Scenario
	for _, call := range everyWrite() {
		for _, match := range []string{"", `"1"`, `"9"`, "*"} {
			for state, stream := range map[string][]events.Event{
				"active": given(plan), "archived": given(plan, events.DocumentArchived{OwnerID: ann}), "deleted": given(plan, events.DocumentDeleted{OwnerID: ann}),
			} {
				s := call
				s.Name, s.Given, s.As, s.Status, s.Code = state+" "+call.Call+" "+match, stream, bob, 404, "not_found"
				if match != "" {
					s.Headers = header("If-Match", match)
				}
				scenarios = append(scenarios, s)
			}
		}
	}
	apptest.New(t).Run(t, scenarios...)
}
