package writeapi_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
)

// headers is an idempotency key and more headers, name after value.
func headers(key string, more ...string) map[string]string {
	h := header("Idempotency-Key", key)
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

// retryable is every write that a key can make safe to repeat.
func retryable() []apptest.Scenario {
	return []apptest.Scenario{
		{Name: "create", Call: "POST /v1/documents", Body: `{"title":"a","body":""}`, Status: 201, Types: []string{"document.created"}},
		{
			Name: "revise", Given: given(plan), Call: "PUT /v1/documents/{id}", Body: `{"title":"a","body":""}`,
			Status: 200, Types: []string{"document.revised"},
		},
		{
			Name: "revise one version", Given: given(plan), Call: "PUT /v1/documents/{id}", Body: `{"title":"a","body":""}`,
			Headers: header("If-Match", `"1"`), Status: 200, Types: []string{"document.revised"},
		},
		{
			Name: "archive one version", Given: given(plan), Call: "POST /v1/documents/{id}/archive",
			Headers: header("If-Match", `"1"`), Status: 200, Types: []string{"document.archived"},
		},
		{
			Name: "restore what is active", Given: given(plan), Call: "POST /v1/documents/{id}/restore",
			Status: 200, Types: []string{},
		},
		{Name: "delete", Given: given(plan), Call: "DELETE /v1/documents/{id}", Status: 204, Types: []string{"document.deleted"}},
		{
			Name: "delete one version", Given: given(plan), Call: "DELETE /v1/documents/{id}",
			Headers: header("If-Match", `"1"`), Status: 204, Types: []string{"document.deleted"},
		},
		{Name: "change the name", Call: "PATCH /v1/me", Body: `{"name":"Anna"}`, Status: 200, Types: []string{"user.name_changed"}},
		{Name: "sign out", Call: "POST /v1/auth/logout", Status: 204, Types: []string{"session.ended"}},
	}
}

// withKey gives the scenario's call a key, and its user, who is somebody new: some calls are about the user.
func withKey(t *testing.T, a *apptest.Atlas, s apptest.Scenario, key string) apptest.Scenario {
	t.Helper()
	if len(s.Given) > 0 || s.Call == "POST /v1/documents" {
		s.As = ann
	} else {
		s.As = a.SignUp(t, uuid.Must(uuid.NewV7()), "U"+uuid.NewString()).ID
	}
	h := headers(key)
	for name, value := range s.Headers {
		h[name] = value
	}
	s.Headers = h
	return s
}

// on is the call on a stream that is there.
func on(call string, id uuid.UUID) string { return strings.ReplaceAll(call, "{id}", id.String()) }

// again is the scenario's call once more, on the same stream.
func again(s apptest.Scenario, first apptest.Answer) apptest.Scenario {
	s.Given, s.Types = nil, nil
	s.Call = on(s.Call, first.Given)
	return s
}

func TestRetryGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for _, s := range retryable() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s := withKey(t, a, s, "retry-"+uuid.NewString())
			first := a.Do(t, s)
			if got := first.Header.Get("Idempotency-Replayed"); got != "" {
				t.Errorf("the first answer says it is replayed: %q", got)
			}
			second := a.Do(t, again(s, first))
			if got := second.Header.Get("Idempotency-Replayed"); got != "true" {
				t.Errorf("Idempotency-Replayed: got %q", got)
			}
			if diff := cmp.Diff(lasting(first), lasting(second)); diff != "" {
				t.Errorf("second answer (-first +second):\n%s", diff)
			}
		})
	}
}

// lasting is what two answers to one request share.
func lasting(a apptest.Answer) []string {
	all := []string{a.Body}
	for _, name := range []string{"ETag", "Location", "Atlas-Position", "Content-Type"} {
		all = append(all, name+": "+a.Header.Get(name))
	}
	return all
}

func TestConcurrentDuplicatesHappenOnce(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for _, s := range retryable() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s := withKey(t, a, s, "together-"+uuid.NewString())
			id := uuid.Must(uuid.NewV7())
			if len(s.Given) > 0 {
				id = a.Stream(t, s.Given...)
			}
			want := len(s.Types)
			s.Given, s.Types, s.Races = nil, nil, true
			s.Call = on(s.Call, id)
			answers := make([]apptest.Answer, 8)
			var all sync.WaitGroup
			for i := range answers {
				all.Go(func() { answers[i] = a.Do(t, s) })
			}
			all.Wait()
			got, firsts := 0, 0
			for _, answer := range answers {
				got += len(answer.Appended)
				if answer.Header.Get("Idempotency-Replayed") == "" {
					firsts++
				}
				if diff := cmp.Diff(lasting(answers[0]), lasting(answer)); diff != "" {
					t.Errorf("two answers (-one +other):\n%s", diff)
				}
			}
			if got != want || firsts != 1 {
				t.Errorf("got %d events and %d first answers; want %d and 1", got, firsts, want)
			}
		})
	}
}

func TestKeyIsForOneRequest(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	key := headers("key-1")
	a.Do(t, apptest.Scenario{
		Call: "POST /v1/documents", As: ann, Headers: key, Body: `{"title":"a","body":""}`,
		Status: 201, Types: []string{"document.created"},
	})
	a.Run(t,
		apptest.Scenario{
			Name: "another body", Call: "POST /v1/documents", As: ann, Headers: key, Body: `{"title":"b","body":""}`,
			Status: 422, Code: "idempotency_key_reused",
		},
		apptest.Scenario{
			Name: "the same body, spelled otherwise", Call: "POST /v1/documents", As: ann, Headers: key, Body: `{"title": "a","body":""}`,
			Status: 422, Code: "idempotency_key_reused",
		},
		apptest.Scenario{
			Name: "another path", Given: given(plan), Call: "PUT /v1/documents/{id}", As: ann, Headers: key, Body: `{"title":"a","body":""}`,
			Status: 422, Code: "idempotency_key_reused",
		},
		apptest.Scenario{
			Name: "another precondition", Call: "POST /v1/documents", As: ann, Headers: headers("key-1", "If-Match", "*"),
			Body: `{"title":"a","body":""}`, Status: 422, Code: "idempotency_key_reused",
		},
		apptest.Scenario{
			Name: "somebody else's key is another key", Call: "POST /v1/documents", As: bob, Headers: key, Body: `{"title":"b","body":""}`,
			Status: 201, Appended: given(events.DocumentCreated{OwnerID: bob, Title: "b", ContentType: "text/markdown"}),
		},
		apptest.Scenario{
			Name: "another key is another request", Call: "POST /v1/documents", As: ann, Headers: headers("key-2"), Body: `{"title":"a","body":""}`,
			Status: 201, Types: []string{"document.created"},
		},
		apptest.Scenario{
			Name: "no key has spaces in it", Call: "POST /v1/documents", As: ann, Headers: headers("key 1"), Body: `{"title":"a","body":""}`,
			Status: 400, Code: "invalid_parameter", Fields: []string{"Idempotency-Key invalid_format"},
		},
	)
}

// What was refused did not happen, so its key is still free.
func TestRefusedRequestMayBeRepairedUnderItsKey(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	archived := a.Stream(t, plan, events.DocumentArchived{OwnerID: ann}).String()
	revise := apptest.Scenario{
		Call: "PUT /v1/documents/" + archived, As: ann, Headers: headers("key-1"), Body: `{"title":"b","body":""}`,
		Status: 409, Code: "document_archived",
	}
	a.Do(t, revise)
	a.Do(t, apptest.Scenario{
		Call: "POST /v1/documents/" + archived + "/restore", As: ann, Status: 200, Appended: given(events.DocumentRestored{OwnerID: ann}),
	})
	revise.Status, revise.Code, revise.Types = 200, "", []string{"document.revised"}
	a.Do(t, revise)
}

// The first answer is for who may still have it: after signing out nobody may.
func TestRetryIsAuthorizedAgain(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	logout := apptest.Scenario{
		Call: "POST /v1/auth/logout", As: ann, Headers: headers("key-1"), Status: 204, Types: []string{"session.ended"},
	}
	a.Do(t, logout)
	a.Revoke(t)
	logout.Status, logout.Code, logout.Types = 401, "token_revoked", nil
	a.Do(t, logout)
}

// A secret that was handed out is not handed out again, and who is nobody has no keys of their own.
func TestAnonymousCallsIgnoreTheKey(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	var refreshTokens []string
	for range 2 {
		in := a.Do(t, apptest.Scenario{
			Call: login, Headers: headers("key-1"), Body: credentials("ann@example.com", apptest.Password),
			Status: 200, Types: []string{"session.started"},
		})
		refreshTokens = append(refreshTokens, apptest.Read[tokens](t, in).Refresh)
	}
	if refreshTokens[0] == refreshTokens[1] {
		t.Error("the second sign-in got the first one's tokens")
	}
	for _, email := range []string{"carl@example.com", "dora@example.com"} {
		a.Do(t, apptest.Scenario{
			Call: register, Headers: headers("key-1"), Body: signUp(email, "Carl"), Status: 202, Types: []string{"user.registered", "email.reserved"},
		})
	}
}
