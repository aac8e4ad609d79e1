package writeapi_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

const (
	login   = "POST /v1/auth/login"
	refresh = "POST /v1/auth/token/refresh"
	logout  = "POST /v1/auth/logout"
)

// credentials is the body of a sign-in.
func credentials(email, password string) string {
	return `{"email":"` + email + `","password":"` + password + `"}`
}

// exchange is the body of a refresh.
func exchange(token string) string { return `{"refresh_token":"` + token + `"}` }

// tokens is what a sign-in or a refresh hands out.
type tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Refresh string `json:"refresh_token"`
}

func TestLogin(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl")
	signIn := apptest.Scenario{Call: login, Body: credentials(carl.Email, apptest.Password), Status: 200, Types: []string{"session.started"}}
	got := apptest.Read[tokens](t, a.Do(t, signIn))
	if got.Type != "Bearer" || got.Expires != 600 || got.Refresh == "" {
		t.Errorf("got %+v", got)
	}
	a.Do(t, apptest.Scenario{Call: "PATCH /v1/me", Token: got.Access, Body: `{"name":"Karl"}`, Status: 200, Types: []string{"user.name_changed"}})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(got.Refresh), Status: 200})

	signIn.Body = credentials("CARL@EXAMPLE.COM", apptest.Password)
	if other := apptest.Read[tokens](t, a.Do(t, signIn)); other.Refresh == got.Refresh {
		t.Error("two sign-ins are one session")
	}
}

// Who reads the answer must not learn which of the reasons it was.
func TestLoginFailsAlikeForEveryReason(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl")
	a.Disable(t, carl.ID)
	failed := apptest.Scenario{Call: login, Status: 401, Code: "invalid_credentials"}
	failed.Body = credentials("ann@example.com", "wrong horse battery staple")
	want := anonymous(t, a.Do(t, failed))
	for name, body := range map[string]string{
		"an unknown address":    credentials("nobody@example.com", apptest.Password),
		"no address":            credentials("nobody", apptest.Password),
		"nothing":               credentials("", ""),
		"a disabled account":    credentials(carl.Email, apptest.Password),
		"disabled and wrong":    credentials(carl.Email, "wrong horse battery staple"),
		"a password too short":  credentials("ann@example.com", "x"),
		"another password case": credentials("ann@example.com", "Correct horse battery staple"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again := failed
			again.Body = body
			if diff := cmp.Diff(want, anonymous(t, a.Do(t, again))); diff != "" {
				t.Errorf("(-wrong password +this):\n%s", diff)
			}
		})
	}
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	first := a.User(t, ann).Refresh
	second := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(first), Status: 200}))
	if second.Refresh == first || second.Refresh == "" {
		t.Fatalf("got %q after %q", second.Refresh, first)
	}
	a.Do(t, apptest.Scenario{Call: "PATCH /v1/me", Token: second.Access, Body: `{"name":"Ann"}`, Status: 200})

	replay := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(first), Status: 200}))
	if replay.Refresh != second.Refresh {
		t.Error("the answer that was lost came back with another refresh token")
	}
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(replay.Refresh), Status: 200})
}

func TestConcurrentRefreshesGetOneToken(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	got := make([]string, 50)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			got[i] = apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(a.User(t, ann).Refresh), Status: 200})).Refresh
		})
	}
	all.Wait()
	for _, token := range got {
		if token != got[0] {
			t.Errorf("got different tokens: %q", got)
		}
	}
}

// A token that was replaced twice over was stolen, or the one that replaced it was: the session ends for both.
func TestReusedRefreshTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	user := a.User(t, ann)
	stolen := user.Refresh
	latest := tokens{Refresh: stolen}
	for range 2 {
		latest = apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(latest.Refresh), Status: 200}))
	}
	a.Do(t, apptest.Scenario{
		Call: refresh, Body: exchange(stolen), Status: 401, Code: "refresh_token_reused",
		Appended: given(events.SessionEnded{UserID: ann, Reason: "refresh_token_reused"}),
	})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(latest.Refresh), Status: 401, Code: "refresh_token_invalid"})
	a.Revoke(t)
	for _, token := range []string{user.Token, latest.Access} {
		a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: token, Status: 401, Code: "token_revoked"})
	}
}

func TestRefreshIsRefused(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl")
	a.Disable(t, carl.ID)
	old := a.SignIn(t, a.SignUp(t, uuid.Must(uuid.NewV7()), "Dora"), time.Now().Add(-90*24*time.Hour-time.Minute))
	good := a.User(t, ann).Refresh
	a.Run(t,
		apptest.Scenario{Name: "junk", Call: refresh, Body: exchange("junk"), Status: 401, Code: "refresh_token_invalid"},
		apptest.Scenario{Name: "nothing", Call: refresh, Body: exchange(""), Status: 401, Code: "refresh_token_invalid"},
		apptest.Scenario{Name: "an access token", Call: refresh, Body: exchange(a.User(t, ann).Token), Status: 401, Code: "refresh_token_invalid"},
		apptest.Scenario{Name: "a forged token", Call: refresh, Body: exchange(good[:len(good)-6] + "AAAAAA"), Status: 401, Code: "refresh_token_invalid"},
		apptest.Scenario{
			Name: "a session that never was", Call: refresh, Body: exchange(a.Refresh.Mint(uuid.New(), 0).Reveal()),
			Status: 401, Code: "refresh_token_invalid",
		},
		apptest.Scenario{Name: "a disabled account", Call: refresh, Body: exchange(carl.Refresh), Status: 401, Code: "refresh_token_invalid"},
		apptest.Scenario{Name: "a session of ninety days", Call: refresh, Body: exchange(old.Refresh), Status: 401, Code: "refresh_token_expired"},
	)
}

func TestLogoutEndsTheSession(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	here := a.User(t, ann)
	there := a.SignIn(t, here, time.Now())
	leave := apptest.Scenario{
		Call: logout, Token: here.Token, Status: 204, Appended: given(events.SessionEnded{UserID: ann, Reason: "logout"}),
		Then: func(t *testing.T, a apptest.Answer) {
			if a.Header.Get("Atlas-Position") == "" {
				t.Error("no Atlas-Position")
			}
		},
	}
	a.Do(t, leave)
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(here.Refresh), Status: 401, Code: "refresh_token_invalid"})
	leave.Appended = nil // signing out twice is a success, until the news of the first is here
	a.Do(t, leave)
	a.Revoke(t)
	a.Do(t, apptest.Scenario{Call: logout, Token: here.Token, Status: 401, Code: "token_revoked"})
	a.Do(t, apptest.Scenario{Call: "GET /v1/documents", Token: here.Token, Status: 401, Code: "token_revoked"})
	a.Do(t, apptest.Scenario{Call: "GET /v1/documents", Token: there.Token, Status: 200})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(there.Refresh), Status: 200})
}

func TestAccessTokenIsRefused(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	good := a.User(t, ann).Token
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl")
	a.Disable(t, carl.ID)
	a.Revoke(t)
	const me = "GET /v1/me"
	a.Run(t,
		apptest.Scenario{Name: "none", Call: me, Status: 401, Code: "unauthenticated"},
		apptest.Scenario{Name: "junk", Call: me, Token: "junk", Status: 401, Code: "token_invalid"},
		apptest.Scenario{Name: "forged", Call: me, Token: good[:len(good)-5] + "AAAAA", Status: 401, Code: "token_invalid"},
		apptest.Scenario{Name: "unsigned", Call: me, Token: good[:len(good)-86], Status: 401, Code: "token_invalid"},
		apptest.Scenario{Name: "a refresh token", Call: me, Token: a.User(t, ann).Refresh, Status: 401, Code: "token_invalid"},
		apptest.Scenario{Name: "expired", Call: me, Token: a.TokenOf(t, ann, time.Now().Add(-11*time.Minute)), Status: 401, Code: "token_expired"},
		apptest.Scenario{Name: "of the future", Call: me, Token: a.TokenOf(t, ann, time.Now().Add(time.Hour)), Status: 401, Code: "token_invalid"},
		apptest.Scenario{Name: "a disabled user's", Call: me, Token: carl.Token, Status: 401, Code: "token_revoked"},
		apptest.Scenario{Name: "another scheme", Call: me, Headers: header("Authorization", "Basic YTpi"), Status: 401, Code: "unauthenticated"},
	)
}

// TestASessionThatEndsDuringARefreshIsOver holds a refresh up between its look at the session and the counter, by the
// counter's row, and ends the session meanwhile. The refresh is answered, and what it hands out is worth nothing.
func TestASessionThatEndsDuringARefreshIsOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(a *apptest.Atlas, u apptest.User){
		"signed out": func(a *apptest.Atlas, u apptest.User) {
			a.Do(t, apptest.Scenario{Call: logout, Token: u.Token, Status: 204, Types: []string{"session.ended"}})
		},
		"signed out everywhere": func(a *apptest.Atlas, u apptest.User) {
			a.Do(t, apptest.Scenario{Call: "POST /v1/auth/logout-all", Token: u.Token, Status: 204, Types: []string{"user.signed_out"}})
		},
		"disabled": func(a *apptest.Atlas, u apptest.User) { a.Disable(t, u.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			a := apptest.New(t)
			user := a.User(t, ann)
			first := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(user.Refresh), Status: 200}))
			tx, err := a.Pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), `SELECT FROM atlas.refresh_counters WHERE session_id = $1 FOR UPDATE`, user.Session); err != nil {
				t.Fatal(err)
			}
			answered := make(chan tokens, 1)
			go func() {
				answered <- apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(first.Refresh), Status: 200, Races: true}))
			}()
			watchtest.Eventually(t, 30*time.Second, "the refresh waits for the counter", func() bool {
				const q = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%refresh_counters%'`
				var waiting int
				err := a.Pool.QueryRow(t.Context(), q).Scan(&waiting)
				return err == nil && waiting == 1
			})
			end(a, user)
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := <-answered
			a.Revoke(t)
			a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: got.Access, Status: 401, Code: "token_revoked"})
			a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(got.Refresh), Status: 401, Code: "refresh_token_invalid"})
		})
	}
}

// TestALateRepeatIsAnsweredOnceAndLeavesATrace moves the counter's row back in time: requests cross for 30 seconds only.
func TestALateRepeatIsAnsweredOnceAndLeavesATrace(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	user := a.User(t, ann)
	current := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(user.Refresh), Status: 200}))
	if _, err := a.Pool.Exec(t.Context(), `UPDATE atlas.refresh_counters SET rotated_at = rotated_at - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
	late := apptest.Scenario{Call: refresh, Body: exchange(user.Refresh), Status: 200, Appended: given(events.SessionAnswerRepeated{UserID: ann})}
	if got := apptest.Read[tokens](t, a.Do(t, late)); got.Refresh != current.Refresh {
		t.Error("a late repeat gets another refresh token than the first answer had")
	}
	late.Status, late.Code, late.Appended = 401, "refresh_token_reused", given(events.SessionEnded{UserID: ann, Reason: "refresh_token_reused"})
	a.Do(t, late)
}
