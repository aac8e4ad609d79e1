package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
)

func TestASubscriptionIsGivenToAServiceKeyThatMayWorkForIt(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before, after := now.Add(-time.Second), now.Add(time.Second)
	scopes := []string{"events:read", "subscriptions:use"}
	for why, key := range map[string]commands.KeyAccount{
		"":                  {Scopes: scopes, ExpiresAt: &after},
		"is a user's":       {Scopes: scopes, Owner: commands.Account{ID: uuid.New()}},
		"was revoked":       {Scopes: scopes, Revoked: true},
		"has expired":       {Scopes: scopes, ExpiresAt: &before},
		"lacks the scope":   {Scopes: scopes[:1]},
		"expired; give the": {Scopes: scopes, ExpiresAt: &now},
	} {
		if got := unfit(key, now); !strings.Contains(got, why) || (got == "") != (why == "") {
			t.Errorf("got %q, want %q", got, why)
		}
	}
}
