package commands

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
)

var (
	now      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	expiry   = now.Add(time.Hour)
	annsKey  = events.APIKeyCreated{OwnerID: ann, Name: "Backup", Scopes: []string{"documents:read"}, Hash: "h1"}
	robot    = events.ServiceKeyCreated{CreatedBy: bob, Name: "Search", Scopes: []string{"events:read"}, Hash: "h1"}
	byAnn    = Actor{User: ann}
	byBob    = Actor{User: bob}
	byAdmin  = Actor{User: bob, Admin: true}
	expiring = events.APIKeyCreated{OwnerID: ann, Name: "Backup", Scopes: []string{"documents:read"}, Hash: "h1", ExpiresAt: &expiry}
)

func TestAUsersKeyHasNoScopeThatIsForServices(t *testing.T) {
	create := CreateAPIKey{Owner: ann, Name: "Backup", Scopes: []string{"documents:read"}, Hash: "h1", At: now}
	specify(t, APIKey).given().when(create).then(annsKey)
	for _, scope := range ServiceScopes() {
		create.Scopes = []string{"documents:read", scope}
		specify(t, APIKey).given().when(create).thenFails(ErrAPIKeyScope)
	}
}

func TestOnlyAdminsMakeServiceKeys(t *testing.T) {
	create := CreateServiceKey{By: byAdmin, Name: "Search", Scopes: []string{"events:read"}, Hash: "h1", At: now}
	specify(t, APIKey).given().when(create).then(robot)
	create.By = byAnn
	specify(t, APIKey).given().when(create).thenFails(ErrNotFound)
}

func TestANewKeyKeepsTheRules(t *testing.T) {
	right := CreateAPIKey{Owner: ann, Name: "Backup", Scopes: []string{"documents:read"}, Hash: "h1", At: now, ExpiresAt: &expiry}
	specify(t, APIKey).given().when(right).then(expiring)
	specify(t, APIKey).given(annsKey).when(right).thenFails(ErrAPIKeyExists)
	for want, change := range map[error]func(*CreateAPIKey){
		ErrAPIKeyName:   func(c *CreateAPIKey) { c.Name = " " },
		ErrAPIKeyScopes: func(c *CreateAPIKey) { c.Scopes = []string{"documents:read", "documents:read"} },
		ErrAPIKeyExpiry: func(c *CreateAPIKey) { c.ExpiresAt = &now },
	} {
		c := right
		change(&c)
		specify(t, APIKey).given().when(c).thenFails(want)
		service := CreateServiceKey{By: byAdmin, Name: c.Name, Scopes: c.Scopes, Hash: c.Hash, ExpiresAt: c.ExpiresAt, At: c.At}
		specify(t, APIKey).given().when(service).thenFails(want)
	}
	long := right
	long.Name = characters(101)
	specify(t, APIKey).given().when(long).thenFails(ErrAPIKeyName)
	none := right
	none.Scopes = nil
	specify(t, APIKey).given().when(none).thenFails(ErrAPIKeyScopes)
}

func TestARotationEndsTheOldSecretAtOnceUnlessItOverlaps(t *testing.T) {
	until := now.Add(time.Hour)
	atOnce := events.APIKeyRotated{OwnerID: ann, Hash: "h2", Generation: 2, Least: 2}
	overlapping := events.APIKeyRotated{OwnerID: ann, Hash: "h2", Generation: 2, Least: 1, PreviousUntil: &until}
	specify(t, APIKey).given(annsKey).when(RotateAPIKey{By: byAnn, Hash: "h2", At: now}).then(atOnce)
	specify(t, APIKey).given(annsKey).when(RotateAPIKey{By: byAnn, Hash: "h2", Overlap: time.Hour, At: now}).then(overlapping)
	specify(t, APIKey).given(annsKey, overlapping).when(RotateAPIKey{By: byAnn, Hash: "h3", Overlap: time.Hour, At: now}).
		then(events.APIKeyRotated{OwnerID: ann, Hash: "h3", Generation: 3, Least: 2, PreviousUntil: &until})
	specify(t, APIKey).given(annsKey).when(RotateAPIKey{By: byAnn, Hash: "h2", Overlap: maxKeyOverlap + 1, At: now}).thenFails(ErrAPIKeyOverlap)
	specify(t, APIKey).given(annsKey).when(RotateAPIKey{By: byAnn, Hash: "h2", Overlap: -1, At: now}).thenFails(ErrAPIKeyOverlap)
	specify(t, APIKey).given(expiring).when(RotateAPIKey{By: byAnn, Hash: "h2", At: expiry}).thenFails(ErrAPIKeyExpired)
}

func TestAKeyIsItsOwnersAndAServiceKeyEveryAdmins(t *testing.T) {
	rotate := func(by Actor) RotateAPIKey { return RotateAPIKey{By: by, Hash: "h2", At: now} }
	for _, by := range []Actor{byBob, byAdmin} { // an admin ends a user's key, and never gets one of it
		specify(t, APIKey).given(annsKey).when(rotate(by)).thenFails(ErrNotFound)
	}
	specify(t, APIKey).given(robot).when(rotate(byAnn)).thenFails(ErrNotFound)
	specify(t, APIKey).given(robot).when(rotate(Actor{})).thenFails(ErrNotFound)
	specify(t, APIKey).given(robot).when(rotate(Actor{User: ann, Admin: true})).then(events.APIKeyRotated{Hash: "h2", Generation: 2, Least: 2})

	specify(t, APIKey).given(annsKey).when(RevokeAPIKey{By: byAnn}).then(events.APIKeyRevoked{OwnerID: ann})
	specify(t, APIKey).given(annsKey).when(RevokeAPIKey{By: byAdmin}).then(events.APIKeyRevoked{OwnerID: ann})
	specify(t, APIKey).given(annsKey).when(RevokeAPIKey{By: byBob}).thenFails(ErrNotFound)
	specify(t, APIKey).given(robot).when(RevokeAPIKey{By: byAnn}).thenFails(ErrNotFound)
	specify(t, APIKey).given(robot).when(RevokeAPIKey{By: byAdmin}).then(events.APIKeyRevoked{OwnerID: uuid.Nil})
}

func TestARevokedKeyStaysSo(t *testing.T) {
	revoked := events.APIKeyRevoked{OwnerID: ann}
	specify(t, APIKey).given(annsKey, revoked).when(RevokeAPIKey{By: byAnn}).thenFails(ErrNotFound)
	specify(t, APIKey).given(annsKey, revoked).when(RotateAPIKey{By: byAnn, Hash: "h2", At: now}).thenFails(ErrNotFound)
	specify(t, APIKey).given().when(RevokeAPIKey{By: byAdmin}).thenFails(ErrNotFound)
}
