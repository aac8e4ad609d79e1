package readapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/readapi/feed/feedtest"
)

// eventPage is a page of the log.
type eventPage struct {
	page[wire.Event]
	Resume string
}

// readEvents reads a page of the log: GET /v1/events + query.
func readEvents(t *testing.T, a *apptest.Atlas, key, query string) eventPage {
	t.Helper()
	return apptest.Read[eventPage](t, a.Do(t, apptest.Scenario{Call: "GET /v1/events" + query, Token: key, Status: 200}))
}

// everything returns all events of the log, as the store reads them.
func everything(t *testing.T, a *apptest.Atlas) (all []*eventstore.Recorded) {
	t.Helper()
	standing, err := a.Store.Standing(t.Context())
	for after := int64(0); err == nil && after < standing.Last; {
		var b eventstore.Batch
		b, err = a.Store.ReadAll(t.Context(), after, standing.Last, eventstore.Filter{}, 1000)
		all, after = append(all, b.Events...), b.Upto
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func positions(all []*eventstore.Recorded) []int64 {
	got := make([]int64, len(all))
	for i, r := range all {
		got[i] = r.Position
	}
	return got
}

func TestTheLogIsReadPageByPageAndOnFromWhereItEnded(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, key := a.ServiceKey(t, "events:read")
	id := a.Stream(t, plan, revised, archived)
	var got []int64
	last := readEvents(t, a, key, "?limit=2")
	for pages := 0; last.NextCursor != nil; pages++ {
		got = append(got, feedtest.Positions(last.Data)...)
		if len(last.Data) == 0 || len(last.Data) > 2 || !last.HasMore || pages > 50 {
			t.Fatalf("page %d: %+v", pages, last)
		}
		last = readEvents(t, a, key, "?limit=2&cursor="+*last.NextCursor)
	}
	got = append(got, feedtest.Positions(last.Data)...)
	if diff := cmp.Diff(positions(everything(t, a)), got); diff != "" {
		t.Errorf("(-log +pages):\n%s", diff)
	}
	if again := readEvents(t, a, key, "?after="+last.Resume); len(again.Data) != 0 || again.Resume != last.Resume {
		t.Errorf("nothing happened since, and it reads %+v", again)
	}
	a.Append(t, "document", id, deleted)
	now := readEvents(t, a, key, "?after="+last.Resume)
	if len(now.Data) != 1 || now.Data[0].Type != "document.deleted" || now.Data[0].Stream != "document-"+id.String() || now.Data[0].Version != 4 {
		t.Errorf("what happened since reads %+v", now)
	}
}

func TestEventsAreChosenByTypeCategoryAndStream(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, key := a.ServiceKey(t, "events:read")
	one, other := a.Stream(t, plan, revised), a.Stream(t, plan, archived)
	types := func(query string) (got []string) {
		t.Helper()
		for _, e := range readEvents(t, a, key, query+"&limit=100").Data {
			got = append(got, e.Type)
		}
		return got
	}
	streams := fmt.Sprintf("stream=document-%s&stream=document-%s", one, other)
	for query, want := range map[string][]string{
		"?type=document.revised":                        {"document.revised"},
		"?type=document.revised&type=document.archived": {"document.revised", "document.archived"},
		"?category=document":                            {"document.created", "document.revised", "document.created", "document.archived"},
		"?category=document&type=user.registered":       nil,
		"?stream=document-" + one.String():              {"document.created", "document.revised"},
		"?" + streams + "&type=document.created":        {"document.created", "document.created"},
		"?stream=document-" + uuid.NewString():          nil,
	} {
		if got := types(query); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	chosen := readEvents(t, a, key, "?category=document&limit=1")
	a.Run(t,
		apptest.Scenario{Name: "a cursor of another choice", Call: "GET /v1/events?category=user&cursor=" + *chosen.NextCursor, Token: key, Status: 400, Code: "invalid_parameter", Fields: []string{"cursor invalid_format"}},
		apptest.Scenario{Name: "a type that is none", Call: "GET /v1/events?type=document.revized", Token: key, Status: 400, Code: "invalid_parameter", Fields: []string{"type not_allowed"}},
		apptest.Scenario{Name: "a category that is none", Call: "GET /v1/events?category=documents", Token: key, Status: 400, Code: "invalid_parameter", Fields: []string{"category not_allowed"}},
		apptest.Scenario{Name: "a stream that is none", Call: "GET /v1/events?stream=document", Token: key, Status: 400, Code: "invalid_parameter", Fields: []string{"stream not_allowed"}},
	)
}

func TestWhatIsPersonalIsReadOnlyWithTheScope(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, clear := a.ServiceKey(t, "events:read")
	_, unsealed := a.ServiceKey(t, "events:read", "unseal")
	for _, c := range []struct {
		key  string
		want wire.Sealed
	}{{clear, wire.Withheld}, {unsealed, wire.Shown}} {
		answer := a.Do(t, apptest.Scenario{Call: "GET /v1/events?type=user.registered&limit=100", Token: c.key, Status: 200})
		got := apptest.Read[eventPage](t, answer)
		if len(got.Data) != 2 || got.Data[0].Sealed != c.want || strings.Contains(answer.Body, "ann@example.com") != (c.want == wire.Shown) {
			t.Errorf("want %s: got %s", c.want, answer.Body)
		}
		if strings.Contains(answer.Body, "argon2") {
			t.Errorf("a secret is shown: %s", answer.Body)
		}
	}
	a.Run(t,
		apptest.Scenario{Name: "users", Call: "GET /v1/events", As: ann, Status: 403, Code: "permission_denied"},
		apptest.Scenario{Name: "admins", Call: "GET /v1/events", Token: a.AdminToken(t, ann), Status: 403, Code: "permission_denied"},
	)
}

func TestWhoReadsPersonalDataIsLogged(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, clear := a.ServiceKey(t, "events:read")
	id, unsealed := a.ServiceKey(t, "events:read", "unseal")
	readEvents(t, a, clear, "")
	feedtest.MustOpen(t, a.URL, "", clear, "")
	if said := a.Audit.String(); said != "" {
		t.Errorf("nobody read anything personal, and it says %s", said)
	}
	for n, how := range []func(){func() { readEvents(t, a, unsealed, "") }, func() { feedtest.MustOpen(t, a.URL, "", unsealed, "") }} {
		how()
		said := a.Audit.String()
		if strings.Count(said, `"msg":"personal data is read"`) != n+1 || strings.Count(said, `"key_id":"`+id.String()+`"`) != n+1 {
			t.Errorf("after %d uses it says %s", n+1, said)
		}
	}
}

// TestAPlaceOfAnotherLogIsRefusedByName shows places of logs that are not this one, or not any more.
func TestAPlaceOfAnotherLogIsRefusedByName(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, key := a.ServiceKey(t, "events:read")
	early := readEvents(t, a, key, "?limit=100").Resume
	last := everything(t, a)
	restored := last[len(last)-1].Position
	a.Append(t, "document", uuid.New(), plan)
	lost := readEvents(t, a, key, "?after=now").Resume
	const begin = `INSERT INTO atlas.epochs (number, tag, home, after) VALUES (2, 'restored', atlas.home(), $1)`
	if _, err := a.Pool.Exec(t.Context(), begin, restored); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"after", "Last-Event-ID"} {
		for _, accept := range []string{"application/json", "text/event-stream"} {
			send := func(place string, status int, code string) apptest.Answer {
				s := apptest.Scenario{Call: "GET /v1/events", Token: key, Headers: map[string]string{"Accept": accept}, Status: status, Code: code}
				if code == "invalid_parameter" {
					s.Fields = []string{how + " invalid_format"}
				}
				if how == "after" {
					s.Call += "?after=" + url.QueryEscape(place)
				} else {
					s.Headers[how] = place
				}
				return a.Do(t, s)
			}
			if said := send(lost, 410, "position_lost_by_restore"); !strings.Contains(said.Body, fmt.Sprintf("restored-%d", restored)) {
				t.Errorf("it does not say what is left: %s", said.Body)
			}
			send("12345678-5", 410, "position_of_other_log")
			send("restored-999999999", 400, "position_in_future")
			if how == "after" {
				send("999999999", 400, "position_in_future")
			}
			for _, nonsense := range []string{"-1", "yesterday", "restored-", "restored-01"} {
				send(nonsense, 400, "invalid_parameter")
			}
		}
	}
	got := readEvents(t, a, key, "?after="+early)
	if len(got.Data) != 1 || got.Data[0].Type != "document.created" || !strings.HasPrefix(got.Resume, "restored-") {
		t.Errorf("behind what is in both logs: got %+v", got)
	}
}

func TestAReadOfTheLogWaitsForWhatTheCallerWrote(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, key := a.ServiceKey(t, "events:read")
	wrote := a.Do(t, apptest.Scenario{Call: "POST /v1/documents", As: ann, Status: 201, Body: `{"title": "Plan", "body": ""}`, Appended: given(
		events.DocumentCreated{OwnerID: ann, Title: "Plan", ContentType: "text/markdown", Tags: []string{}})})
	got := a.Do(t, apptest.Scenario{Call: "GET /v1/events?category=document", Token: key, Status: 200, Headers: wrote.After()})
	if page := apptest.Read[eventPage](t, got); len(page.Data) != 1 {
		t.Errorf("got %+v", page)
	}
	a.Do(t, apptest.Scenario{Call: "GET /v1/events", Token: key, Status: 400, Code: "position_in_future", Headers: header("Atlas-Min-Position", "999999999")})
}
