package writeapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

const register = "POST /v1/auth/register"

// signUp is the body of a registration with a good password.
func signUp(email, name string) string {
	return `{"email":"` + email + `","password":"` + apptest.Password + `","name":"` + name + `"}`
}

func TestRegister(t *testing.T) {
	t.Parallel()
	signedUp := []string{"user.registered", "email.reserved"}
	apptest.New(t).Run(t,
		apptest.Scenario{
			Name: "a new address gets an account", Call: register, Body: signUp("Carl@Example.COM", " Carl "),
			Status: 202, Types: signedUp,
			Then: func(t *testing.T, a apptest.Answer) {
				got, _ := a.Appended[0].(events.UserRegistered)
				want := events.UserRegistered{UserID: got.UserID, Email: "Carl@example.com", Name: " Carl ", Roles: []string{"user"}}
				if diff := cmp.Diff(want, got); diff != "" || got.UserID == uuid.Nil {
					t.Errorf("(-want +got):\n%s", diff)
				}
				for _, name := range []string{"Location", "ETag", "Atlas-Position"} {
					if a.Header.Get(name) != "" {
						t.Errorf("%s tells that there is an account", name)
					}
				}
			},
		},
		apptest.Scenario{
			Name: "what is no address is refused", Call: register, Body: signUp("carl at example.com", "Carl"),
			Status: 422, Code: "validation_failed", Fields: []string{"/email invalid_format"},
		},
		apptest.Scenario{
			Name: "a short password is refused", Call: register, Body: `{"email":"c@example.com","password":"elevenchars","name":"Carl"}`,
			Status: 422, Code: "weak_password", Fields: []string{"/password too_short"},
		},
		apptest.Scenario{
			Name: "a password is up to 128 characters", Call: register,
			Body:   `{"email":"c128@example.com","password":"` + strings.Repeat("ä", 128) + `","name":"Carl"}`,
			Status: 202, Types: signedUp,
		},
		apptest.Scenario{
			Name: "a password is not longer", Call: register,
			Body:   `{"email":"c@example.com","password":"` + strings.Repeat("ä", 129) + `","name":"Carl"}`,
			Status: 422, Code: "weak_password", Fields: []string{"/password too_long"},
		},
		apptest.Scenario{
			Name: "a name is up to 200 characters", Call: register, Body: signUp("c200@example.com", strings.Repeat("ä", 200)),
			Status: 202, Types: signedUp,
		},
		apptest.Scenario{
			Name: "a name is not longer", Call: register, Body: signUp("c@example.com", strings.Repeat("ä", 201)),
			Status: 422, Code: "validation_failed", Fields: []string{"/name too_long"},
		},
		apptest.Scenario{
			Name: "spaces are no name", Call: register, Body: signUp("c@example.com", "  "), Status: 422, Code: "user_name_invalid", Fields: []string{"/name invalid"},
		},
		apptest.Scenario{
			Name: "all that is wrong is said at once", Call: register, Body: `{"email":"c","admin":true}`,
			Status: 422, Code: "validation_failed",
			Fields: []string{"/email too_short", "/admin unknown_field", "/password required", "/name required"},
		},
	)
}

// Nothing in the answer tells whether an address has an account, and signing up again changes nothing.
func TestTakenAddressIsNotRevealed(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for name, c := range map[string]struct {
		body  func(email string) string
		taken apptest.Scenario
	}{
		"signing up": {
			func(email string) string { return signUp(email, "Anna") },
			apptest.Scenario{Status: 202, Types: []string{"user.registered", "user.verification_requested"}},
		},
		"a name of spaces": {
			func(email string) string { return signUp(email, "  ") }, apptest.Scenario{Status: 422, Code: "user_name_invalid", Fields: []string{"/name invalid"}},
		},
		"a weak password": {
			func(email string) string { return `{"email":"` + email + `","password":"short","name":"Anna"}` },
			apptest.Scenario{Status: 422, Code: "weak_password", Fields: []string{"/password too_short"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			free := c.taken
			free.Call, free.Body, free.Races = register, c.body(uuid.NewString()+"@example.com"), true
			want := a.Do(t, free)
			for _, address := range []string{"ann@example.com", "ANN@EXAMPLE.com"} {
				taken := c.taken
				taken.Call, taken.Body = register, c.body(address)
				if diff := cmp.Diff(anonymous(t, want), anonymous(t, a.Do(t, taken))); diff != "" {
					t.Errorf("%s (-free +taken):\n%s", address, diff)
				}
			}
		})
	}
	t.Run("the account is as it was", func(t *testing.T) {
		t.Parallel()
		if got := len(a.Events(t, "user", ann)); got != 1 {
			t.Errorf("got %d events of the user, want 1", got)
		}
	})
}

// anonymous is an answer without what differs from request to request: its ids, and when it was sent.
func anonymous(t *testing.T, a apptest.Answer) map[string]any {
	t.Helper()
	body := apptest.Read[map[string]any](t, a)
	delete(body, "request_id")
	h := a.Header.Clone()
	for _, name := range []string{"X-Request-Id", "Traceparent", "Date", "Ratelimit"} {
		h.Del(name)
	}
	return map[string]any{"status": a.Status, "headers": h, "body": body}
}

func TestChangeMe(t *testing.T) {
	t.Parallel()
	const change = "PATCH /v1/me"
	a := apptest.New(t)
	carl := a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl").ID
	dora := a.SignUp(t, uuid.Must(uuid.NewV7()), "Dora").ID
	a.Disable(t, dora) // and the news has not come yet
	a.Run(t,
		apptest.Scenario{
			Name: "a new name", Call: change, As: ann, Body: `{"name":"Anna"}`,
			Status: 200, Appended: given(events.UserNameChanged{UserID: ann, Name: "Anna"}),
			Then: func(t *testing.T, a apptest.Answer) {
				if w := apptest.Read[written](t, a); w.ID != ann || w.Version != 2 || a.ETag() != `"2"` {
					t.Errorf("got %+v, ETag %s", w, a.ETag())
				}
			},
		},
		apptest.Scenario{Name: "the same name: nothing happens", Call: change, As: bob, Body: `{"name":"Bob"}`, Status: 200},
		apptest.Scenario{
			Name: "a stale change is refused", Call: change, As: bob, Body: `{"name":"Rob"}`, Headers: header("If-Match", `"7"`),
			Status: 412, Code: "version_mismatch",
		},
		apptest.Scenario{
			Name: "the current version may be insisted on", Call: change, As: carl, Body: `{"name":"Karl"}`, Headers: header("If-Match", `"1"`),
			Status: 200, Appended: given(events.UserNameChanged{UserID: carl, Name: "Karl"}),
		},
		apptest.Scenario{
			Name: "no name is none", Call: change, As: bob, Body: `{"name":""}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/name too_short"},
		},
		apptest.Scenario{Name: "spaces are no name", Call: change, As: bob, Body: `{"name":"\t "}`, Status: 422, Code: "user_name_invalid", Fields: []string{"/name invalid"}},
		apptest.Scenario{
			Name: "only the name is for the user to change", Call: change, As: bob, Body: `{"name":"Bob","email":"x@example.com","roles":["admin"]}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/email unknown_field", "/roles unknown_field"},
		},
		apptest.Scenario{Name: "a disabled user changes nothing", Call: change, As: dora, Body: `{"name":"D"}`, Status: 403, Code: "user_disabled"},
		apptest.Scenario{Name: "nobody has no name", Call: change, Body: `{"name":"Bob"}`, Status: 401, Code: "unauthenticated"},
	)
}
