package main_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// TestASubscriptionWhoseKeyWasRevokedIsGivenToAnother has a worker lose its key behind the first of three documents: with
// another key it goes on with the second.
func TestASubscriptionWhoseKeyWasRevokedIsGivenToAnother(t *testing.T) {
	t.Parallel()
	settings, _ := shared(t)
	p := serve(t, settings...)
	admin := createAdmin(t, p, settings, "root@example.com")
	search := map[string]any{"name": "Search", "scopes": []string{"subscriptions:use"}}
	lost, next := admin.makeKey(t, "/v1/admin/api-keys", search), admin.makeKey(t, "/v1/admin/api-keys", search)
	worker := admin.withKey(lost.Key)
	worker.must(t, http.StatusOK, "PUT", "/v1/subscriptions/search", map[string]any{"categories": []string{"document"}})
	leaseOne := func(what string) (m leasedMessage) {
		t.Helper()
		watchtest.Eventually(t, patience, what, func() bool {
			got, _, err := worker.leaseFrom(t.Context(), 1, 600)
			if err == nil && len(got) > 0 {
				m = got[0]
			}
			return m.Token != ""
		})
		return m
	}
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"One", "…"})
	first := leaseOne("the first document is leased")
	if a, err := worker.ack(t.Context(), first.Token); err != nil || a.status != http.StatusNoContent {
		t.Fatal(a, err)
	}
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Two", "…"})
	out := leaseOne("the second document is leased")
	admin.must(t, http.StatusNoContent, "DELETE", "/v1/admin/api-keys/"+lost.ID, nil)

	give := func(args ...string) outcome {
		return atlas(t, settings, append([]string{"subscriptions", "give"}, args...)...)
	}
	nobody := uuid.NewString()
	for _, c := range []struct {
		code       int
		name, key  string
		says, hide string
	}{
		{2, "search", next.Key, "not the key itself", next.Key},
		{2, "search", nobody, "there is no API key " + nobody, ""},
		{2, "search", lost.ID, "was revoked", ""},
		{2, "nosuch", next.ID, "no subscription", ""},
		{1, "welcome", next.ID, "a worker of Atlas itself", ""},
	} {
		o := give(c.name, "--key", c.key)
		o.wants(t, c.code, c.says)
		if c.hide != "" && strings.Contains(o.stdout+o.stderr, c.hide) {
			t.Errorf("the answer holds a secret: %+v", o)
		}
	}
	give("search", "--key", next.ID).wantsOut(t, "search was "+lost.ID+"'s and is "+next.ID+"'s")
	atlas(t, settings, "subscriptions", "show", "search").wantsOut(t, "1 messages out; it is "+next.ID+"'s")

	worker = admin.withKey(next.Key)
	if a, err := worker.ack(t.Context(), out.Token); err != nil || a.status != http.StatusNoContent {
		t.Fatalf("the new key does not answer what is out: %v %v", a, err)
	}
	admin.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Three", "…"})
	if m := leaseOne("the third document is leased"); m.Event.Stream == first.Event.Stream || m.Event.Stream == out.Event.Stream {
		t.Errorf("what was done comes again: %+v", m)
	}
}
