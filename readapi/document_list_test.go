package readapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

const list = "GET /v1/documents"

// fill gives Ann n documents and returns their ids, newest first.
func fill(t *testing.T, a *apptest.Atlas, n int, then ...events.Event) (ids []uuid.UUID) {
	t.Helper()
	for i := range n {
		d := plan
		d.Title = fmt.Sprint("Plan ", i)
		ids = append([]uuid.UUID{a.Stream(t, append(given(d), then...)...)}, ids...)
	}
	return ids
}

// everyPage follows the cursors from the first page to the last, and does something between two pages.
func everyPage(t *testing.T, a *apptest.Atlas, call string, between func()) (ids []uuid.UUID, pages int) {
	t.Helper()
	for next := call; next != ""; pages++ {
		p := apptest.Read[page[document]](t, a.Do(t, apptest.Scenario{Call: next, As: ann, Status: 200}))
		for _, d := range p.Data {
			ids = append(ids, d.ID)
		}
		if p.HasMore != (p.NextCursor != nil) {
			t.Errorf("has_more is %t, next_cursor %v", p.HasMore, p.NextCursor)
		}
		if next = ""; p.HasMore {
			next = call + "&cursor=" + *p.NextCursor
			between()
		}
	}
	return ids, pages
}

func TestListDocumentsNewestFirst(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	want := fill(t, a, 7)
	a.Do(t, apptest.Scenario{Call: "POST /v1/documents", As: bob, Body: `{"title":"Bob's","body":""}`, Status: 201, Types: []string{"document.created"}})
	got, pages := everyPage(t, a, list+"?limit=2", func() { fill(t, a, 1) })
	if diff := cmp.Diff(want, got); diff != "" || pages != 4 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
}

func TestListDocumentsOfOneStatus(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	active, away := fill(t, a, 3), fill(t, a, 3, archived)
	fill(t, a, 1, deleted)
	restored := fill(t, a, 1, archived, events.DocumentRestored{OwnerID: ann})
	for status, want := range map[string][]uuid.UUID{
		"": append(append(append([]uuid.UUID{}, restored...), away...), active...), "active": append(restored, active...), "archived": away,
	} {
		got, _ := everyPage(t, a, list+"?limit=2&status="+status, func() {})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status %q (-want +got):\n%s", status, diff)
		}
	}
}

func TestListDocuments(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	fill(t, a, 21)
	first := apptest.Read[page[map[string]any]](t, a.Do(t, apptest.Scenario{Call: list, As: ann, Status: 200}))
	if len(first.Data) != 20 || !first.HasMore {
		t.Errorf("got %d documents, has_more %t; want 20 of 21", len(first.Data), first.HasMore)
	}
	if _, there := first.Data[0]["body"]; there {
		t.Error("the list holds bodies")
	}
	cursor := *first.NextCursor
	refused := func(name, query string, who uuid.UUID, field string) apptest.Scenario {
		return apptest.Scenario{Name: name, Call: list + "?" + query, As: who, Status: 400, Code: "invalid_parameter", Fields: []string{field}}
	}
	a.Run(t,
		apptest.Scenario{
			Name: "nobody else's are in it", Call: list, As: bob, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				if want := `{"data":[],"next_cursor":null,"has_more":false}`; strings.TrimSpace(a.Body) != want {
					t.Errorf("got %s, want %s", a.Body, want)
				}
			},
		},
		apptest.Scenario{
			Name: "a hundred fit on a page", Call: list + "?limit=100", As: ann, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				if p := apptest.Read[page[document]](t, a); len(p.Data) != 21 || p.HasMore {
					t.Errorf("got %d, has_more %t", len(p.Data), p.HasMore)
				}
			},
		},
		apptest.Scenario{
			Name: "an exact page is the last", Call: list + "?limit=21", As: ann, Status: 200,
			Then: func(t *testing.T, a apptest.Answer) {
				if p := apptest.Read[page[document]](t, a); len(p.Data) != 21 || p.HasMore || p.NextCursor != nil {
					t.Errorf("got %d, has_more %t", len(p.Data), p.HasMore)
				}
			},
		},
		refused("another user's cursor", "cursor="+cursor, bob, "cursor invalid_format"),
		refused("a cursor of another filter", "status=active&cursor="+cursor, ann, "cursor invalid_format"),
		refused("a forged cursor", "cursor="+cursor[:len(cursor)-4]+"AAAA", ann, "cursor invalid_format"),
		refused("a cursor of junk", "cursor=junk", ann, "cursor invalid_format"),
		refused("a cursor that is too long", "cursor="+strings.Repeat("A", 1001), ann, "cursor too_long"),
		refused("no documents", "limit=0", ann, "limit too_small"),
		refused("too many", "limit=101", ann, "limit too_large"),
		refused("some", "limit=some", ann, "limit wrong_type"),
		refused("an unknown status", "status=deleted", ann, "status not_allowed"),
		refused("a misspelt filter", "state=active", ann, "state unknown_parameter"),
		apptest.Scenario{Name: "nobody lists nothing", Call: list, Status: 401, Code: "unauthenticated"},
	)
}
