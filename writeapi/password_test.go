package writeapi_test

import (
	"testing"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

const (
	changePassword = "POST /v1/auth/password/change"
	reauthenticate = "POST /v1/auth/reauthenticate"
	another        = "another horse battery staple"
)

func newPassword(current, password string) string {
	return `{"current_password":"` + current + `","new_password":"` + password + `"}`
}

func TestChangingThePasswordEndsEveryOtherSession(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	here := a.User(t, ann)
	there := a.SignIn(t, here, time.Now())
	got := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{
		Call: changePassword, Token: here.Token, Body: newPassword(apptest.Password, another), Status: 200,
		Types: []string{"user.password_changed", "session.confirmed"},
	}))
	a.Revoke(t)
	for _, token := range []string{here.Token, there.Token} {
		a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: token, Status: 401, Code: "token_revoked"})
	}
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(there.Refresh), Status: 401, Code: "refresh_token_invalid"})
	a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: got.Access, Status: 200})
	again := apptest.Read[tokens](t, a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(here.Refresh), Status: 200}))
	a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: again.Access, Status: 200})
	a.Do(t, apptest.Scenario{Call: login, Body: credentials(here.Email, apptest.Password), Status: 401, Code: "invalid_credentials"})
	a.Do(t, apptest.Scenario{Call: login, Body: credentials(here.Email, another), Status: 200, Types: []string{"session.started"}})
}

func TestPasswordIsNotChanged(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	a.Run(t,
		apptest.Scenario{
			Name: "without the current one", Call: changePassword, As: ann, Body: newPassword(another, another),
			Status: 401, Code: "invalid_credentials",
		},
		apptest.Scenario{
			Name: "to a weak one", Call: changePassword, As: ann, Body: newPassword(apptest.Password, "short"),
			Status: 422, Code: "weak_password", Fields: []string{"/new_password too_short"},
		},
		apptest.Scenario{
			Name: "to a common one", Call: changePassword, As: ann, Body: newPassword(apptest.Password, "Password1234"),
			Status: 422, Code: "weak_password", Fields: []string{"/new_password common"},
		},
		apptest.Scenario{
			Name: "to one's own address", Call: changePassword, As: ann, Body: newPassword(apptest.Password, "ann@example.com"),
			Status: 422, Code: "weak_password", Fields: []string{"/new_password own_words"},
		},
		apptest.Scenario{Name: "by nobody", Call: changePassword, Body: newPassword(apptest.Password, another), Status: 401, Code: "unauthenticated"},
	)
}

// Of many who change it at once with the current password, one succeeds: the others know a password that is none any more.
func TestOneOfManyChangesOfThePasswordSucceeds(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	statuses := make(chan int)
	const n = 6
	for range n {
		go func() {
			statuses <- a.Do(t, apptest.Scenario{Call: changePassword, As: bob, Body: newPassword(apptest.Password, another), Races: true}).Status
		}()
	}
	changed := 0
	for range n {
		switch status := <-statuses; status {
		case 200:
			changed++
		case 401, 409:
		default:
			t.Errorf("got %d", status)
		}
	}
	if changed != 1 {
		t.Errorf("%d changes succeeded, want 1", changed)
	}
}

func TestReauthenticatingConfirmsTheSession(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	old := a.SignIn(t, a.User(t, bob), time.Now().Add(-time.Hour))
	body := `{"password":"` + apptest.Password + `"}`
	a.Do(t, apptest.Scenario{Call: reauthenticate, Token: old.Token, Body: `{"password":"` + another + `"}`, Status: 401, Code: "invalid_credentials"})
	answer := a.Do(t, apptest.Scenario{Call: reauthenticate, Token: old.Token, Body: body, Status: 200, Types: []string{"session.confirmed"}})
	if at := answer.Appended[0].(events.SessionConfirmed).ConfirmedAt; time.Since(at) > time.Minute {
		t.Errorf("confirmed at %s", at)
	}
	a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: apptest.Read[tokens](t, answer).Access, Status: 200})
	a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: old.Token, Status: 200}) // nothing was taken back
	a.Do(t, apptest.Scenario{Call: logout, Token: old.Token, Status: 204, Types: []string{"session.ended"}})
	a.Do(t, apptest.Scenario{Call: reauthenticate, Token: old.Token, Body: body, Status: 401, Code: "token_revoked"}) // though the news is not here yet
}
