package writeapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/writeapi"
)

const logoutCookie = "DELETE /v1/auth/cookie"

// refreshCookie returns the refresh cookie that the answer sets, or nil.
func refreshCookie(a apptest.Answer) *http.Cookie {
	all := (&http.Response{Header: a.Header}).Cookies()
	i := slices.IndexFunc(all, func(c *http.Cookie) bool { return c.Name == "__Host-atlas_refresh" })
	if i < 0 {
		return nil
	}
	return all[i]
}

// fromPage returns the headers of a request that a page makes.
func fromPage(origin string, cookie *http.Cookie) map[string]string {
	h := map[string]string{"Origin": origin}
	if cookie != nil {
		h["Cookie"] = cookie.Name + "=" + cookie.Value
	}
	return h
}

// byCookie signs a new user in with a cookie.
func byCookie(t *testing.T, a *apptest.Atlas) (apptest.User, *http.Cookie) {
	t.Helper()
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl")
	in := a.Do(t, apptest.Scenario{
		Call: login, Body: strings.TrimSuffix(credentials(carl.Email, apptest.Password), "}") + `,"cookie":true}`,
		Headers: fromPage(apptest.Origin, nil), Status: 200, Types: []string{"session.started"},
	})
	if got := apptest.Read[tokens](t, in); got.Refresh != "" || got.Access == "" {
		t.Errorf("the answer says %+v, want an access token alone", got)
	}
	c := refreshCookie(in)
	if c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge < 3600 {
		t.Fatalf("the cookie is %+v", c)
	}
	return carl, c
}

func TestABrowserRefreshesAndSignsOutByItsCookie(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	carl, first := byCookie(t, a)
	next := a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: fromPage(apptest.Origin, first), Status: 200})
	second := refreshCookie(next)
	if second == nil || second.Value == first.Value || apptest.Read[tokens](t, next).Refresh != "" {
		t.Fatalf("a refresh sets %v and says %s", second, next.Body)
	}
	out := a.Do(t, apptest.Scenario{
		Call: logoutCookie, Headers: fromPage(apptest.Origin, second), Status: 204,
		Appended: given(events.SessionEnded{UserID: carl.ID, Reason: "logout"}),
	})
	if c := refreshCookie(out); c == nil || c.MaxAge >= 0 {
		t.Errorf("signing out sets %v, want the cookie gone", c)
	}
	ended := a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: fromPage(apptest.Origin, second), Status: 401, Code: "refresh_token_invalid"})
	if c := refreshCookie(ended); c == nil || c.MaxAge >= 0 {
		t.Errorf("a refresh after that sets %v, want the cookie gone", c)
	}
	a.Do(t, apptest.Scenario{Call: logoutCookie, Headers: fromPage(apptest.Origin, second), Status: 204})
}

// TestTheCookieIsGoodForNothingElse shows it where an access token is wanted.
func TestTheCookieIsGoodForNothingElse(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	_, cookie := byCookie(t, a)
	for _, call := range []string{"GET /v1/me", logout, "POST /v1/auth/logout-all", "GET /v1/auth/sessions"} {
		a.Do(t, apptest.Scenario{Call: call, Headers: fromPage(apptest.Origin, cookie), Status: 401, Code: "unauthenticated"})
	}
}

func TestTheCookieIsTakenFromOurOwnPagesAlone(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	carl, cookie := byCookie(t, a)
	withCookie := strings.TrimSuffix(credentials(carl.Email, apptest.Password), "}") + `,"cookie":true}`
	for _, origin := range []string{"https://evil.example.com", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil.com", "null"} {
		headers := fromPage(origin, cookie)
		a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: headers, Status: 403, Code: "origin_refused"})
		a.Do(t, apptest.Scenario{Call: logoutCookie, Headers: headers, Status: 403, Code: "origin_refused"})
		a.Do(t, apptest.Scenario{Call: login, Body: withCookie, Headers: headers, Status: 403, Code: "origin_refused"})
	}
	none := map[string]string{"Cookie": cookie.Name + "=" + cookie.Value}
	a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: none, Status: 403, Code: "origin_refused"})
	a.Do(t, apptest.Scenario{Call: logoutCookie, Headers: none, Status: 403, Code: "origin_refused"})
	a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: fromPage(apptest.Origin, cookie), Status: 200})
	a.Do(t, apptest.Scenario{Call: refresh, Body: `{}`, Headers: fromPage(apptest.Origin, nil), Status: 401, Code: "refresh_token_invalid"})
}

func TestAnOriginIsWrittenAsBrowsersWriteIt(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://App.example.com/base": "https://app.example.com", "https://app.example.com:443": "https://app.example.com",
		"http://localhost:8080": "http://localhost:8080", "http://localhost:80/": "http://localhost", "https://a.example:80": "https://a.example:80", "": "",
	} {
		if got := writeapi.Origin(url); got != want {
			t.Errorf("the origin of %q is %q, want %q", url, got, want)
		}
	}
}

func TestLogoutAllEndsEverySession(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	here := a.User(t, ann)
	there := a.SignIn(t, here, time.Now())
	a.Do(t, apptest.Scenario{
		Call: "POST /v1/auth/logout-all", Token: here.Token, Status: 204, Appended: given(events.UserSignedOut{UserID: ann, Epoch: 2}),
	})
	for _, u := range []apptest.User{here, there} {
		a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(u.Refresh), Status: 401, Code: "refresh_token_invalid"})
	}
	a.Revoke(t)
	for _, u := range []apptest.User{here, there} {
		a.Do(t, apptest.Scenario{Call: "GET /v1/documents", Token: u.Token, Status: 401, Code: "token_revoked"})
	}
	a.Do(t, apptest.Scenario{Call: "GET /v1/documents", As: bob, Status: 200})
	again := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{
		Call: login, Body: credentials(here.Email, apptest.Password), Status: 200, Types: []string{"session.started"},
	}))
	a.Do(t, apptest.Scenario{Call: "GET /v1/documents", Token: again.Access, Status: 200})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(again.Refresh), Status: 200})
}

// sessionList is what the list of sessions shows.
type sessionList struct {
	Data []struct {
		ID      uuid.UUID `json:"id"`
		Current bool      `json:"current"`
	} `json:"data"`
	NextCursor string `json:"next_cursor"`
	HasMore    bool   `json:"has_more"`
}

func TestSessionsAreListedAndEndedOneByOne(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	here := a.User(t, ann)
	there := a.SignIn(t, here, time.Now())
	a.SignIn(t, here, time.Now().Add(-91*24*time.Hour)) // over
	a.CatchUp(t)
	list := func(after map[string]string, want ...uuid.UUID) {
		t.Helper()
		got := apptest.Read[sessionList](t, a.Do(t, apptest.Scenario{Call: "GET /v1/auth/sessions", Token: here.Token, Headers: after, Status: 200}))
		var ids []uuid.UUID
		for _, s := range got.Data {
			ids = append(ids, s.ID)
			if s.Current != (s.ID == here.Session) {
				t.Errorf("session %s is current: %v", s.ID, s.Current)
			}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("the list shows %v, want %v", ids, want)
		}
	}
	list(nil, there.Session, here.Session)
	first := apptest.Read[sessionList](t, a.Do(t, apptest.Scenario{Call: "GET /v1/auth/sessions?limit=1", Token: here.Token, Status: 200}))
	if len(first.Data) != 1 || !first.HasMore || first.Data[0].ID != there.Session {
		t.Errorf("the first page is %+v", first)
	}
	rest := apptest.Read[sessionList](t, a.Do(t, apptest.Scenario{Call: "GET /v1/auth/sessions?limit=1&cursor=" + first.NextCursor, Token: here.Token, Status: 200}))
	if len(rest.Data) != 1 || rest.HasMore || rest.Data[0].ID != here.Session {
		t.Errorf("the second page is %+v", rest)
	}

	end := "DELETE /v1/auth/sessions/" + there.Session.String()
	a.Do(t, apptest.Scenario{Call: end, As: bob, Status: 404, Code: "not_found"})
	ended := a.Do(t, apptest.Scenario{
		Call: end, Token: here.Token, Status: 204, Appended: given(events.SessionEnded{UserID: ann, Reason: "revoked"}),
	})
	list(ended.After(), here.Session)
	a.Revoke(t)
	a.Do(t, apptest.Scenario{Call: "GET /v1/documents", Token: there.Token, Status: 401, Code: "token_revoked"})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(there.Refresh), Status: 401, Code: "refresh_token_invalid"})
}
