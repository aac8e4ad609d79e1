package writeapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

const verify = "POST /v1/auth/email/verify"

// completion is the body that completes a sign-up.
func completion(token, password string) string {
	return `{"token":"` + token + `","password":"` + password + `"}`
}

// signedUp signs somebody up, and returns who that is and the token that their mailbox gets.
func signedUp(t *testing.T, a *apptest.Atlas, email, password string) (id uuid.UUID, token string) {
	t.Helper()
	answer := a.Do(t, apptest.Scenario{
		Call: register, Body: `{"email":"` + email + `","password":"` + password + `","name":"Someone"}`,
		Status: 202, Types: []string{"user.registered", "user.verification_requested"},
	})
	requested := answer.Appended[1].(events.UserVerificationRequested)
	return requested.UserID, a.Verifications.Mint(requested.UserID, requested.VerifyBy).Reveal()
}

// Mallory signs up with an address that is Vera's, and Vera gets the mail.
func TestAnAccountIsNeverCompletedWithAStrangersPassword(t *testing.T) {
	t.Parallel()
	a := apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Verify: true})
	const address, mallorys, veras = "vera@example.com", "mallory wants this account", "vera reads her own mail"
	refused := func(call, body string, status int, code string) {
		t.Helper()
		a.Do(t, apptest.Scenario{Call: call, Body: body, Status: status, Code: code})
	}
	_, first := signedUp(t, a, address, mallorys)
	refused(login, credentials(address, mallorys), 401, "invalid_credentials")
	refused(verify, completion(first, veras), 401, "invalid_credentials") // the mail was clicked
	refused(login, credentials(address, mallorys), 401, "invalid_credentials")
	refused(login, credentials(address, veras), 401, "invalid_credentials")

	vera, second := signedUp(t, a, address, veras)
	refused(verify, completion(second, mallorys), 401, "invalid_credentials")
	_, third := signedUp(t, a, address, mallorys) // and again, which takes nothing from her
	a.Do(t, apptest.Scenario{
		Call: verify, Body: completion(second, veras), Status: 204,
		Types: []string{"user.verified", "email.reserved"},
	})
	a.Do(t, apptest.Scenario{Call: login, Body: credentials(address, veras), Status: 200, Types: []string{"session.started"}})
	for _, token := range []string{first, third} {
		refused(verify, completion(token, mallorys), 410, "link_used_or_expired") // even with her mail and his password
	}
	refused(login, credentials(address, mallorys), 401, "invalid_credentials")
	if diff := cmp.Diff([]events.Event{events.UserVerified{UserID: vera}}, a.Events(t, "user", vera)[2:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAVerificationTokenIsGoodOnceAndForAnHour(t *testing.T) {
	t.Parallel()
	a := apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Verify: true})
	refused := func(token string) {
		t.Helper()
		a.Do(t, apptest.Scenario{Call: verify, Body: completion(token, apptest.Password), Status: 410, Code: "link_used_or_expired"})
	}
	id, token := signedUp(t, a, "vera@example.com", apptest.Password)
	by := a.Events(t, "user", id)[1].(events.UserVerificationRequested).VerifyBy
	if left := time.Until(by); left > time.Hour || left < 50*time.Minute {
		t.Errorf("it is good for %s", left)
	}
	other, _ := signedUp(t, a, "will@example.com", apptest.Password)
	for _, forged := range []string{
		"", "junk", token[:len(token)-4] + "AAAA", token + "A", a.Verifications.Mint(id, by.Add(time.Hour)).Reveal(),
		a.Verifications.Mint(other, by).Reveal(), a.Verifications.Mint(uuid.New(), by).Reveal(), a.Verifications.Mint(apptest.Ann, time.Time{}).Reveal(),
	} {
		refused(forged)
	}
	a.Do(t, apptest.Scenario{Call: verify, Body: completion(token, apptest.Password), Status: 204, Types: []string{"user.verified", "email.reserved"}})
	refused(token)

	late := uuid.Must(uuid.NewV7())
	past := time.Now().Add(-time.Second)
	a.SignUp(t, late, "Late")
	a.Append(t, "user", late, events.UserVerificationRequested{UserID: late, VerifyBy: past})
	refused(a.Verifications.Mint(late, past).Reveal())
}
