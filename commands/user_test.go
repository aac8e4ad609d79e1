package commands

import (
	"testing"

	"github.com/atlas-platform/atlas/events"
)

var annRegistered = events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Roles: []string{"user"}}

func TestARegisteredUserHasTheRoleOfUsersAndNoOther(t *testing.T) {
	specify(t, User).
		given().
		when(RegisterUser{ID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash"}).
		then(annRegistered)
}

func TestAUserIsRegisteredOnce(t *testing.T) {
	again := RegisterUser{ID: ann, Email: "other@example.com", Name: "Other", PasswordHash: "other"}
	specify(t, User).given(annRegistered).when(again).thenFails(ErrUserExists)
	specify(t, User).given(annRegistered, events.UserDisabled{UserID: ann, Epoch: 2}).when(again).thenFails(ErrUserExists)
}

func TestAUsersNameHasOneToTwoHundredCharactersNotAllSpaces(t *testing.T) {
	for _, c := range []struct {
		name string
		fits bool
	}{
		{characters(1), true},
		{characters(200), true},
		{characters(201), false},
		{"", false},
		{" \t\n\u00a0\u3000", false},
		{" Ann ", true},
	} {
		register := specify(t, User).given().when(RegisterUser{ID: ann, Email: "ann@example.com", Name: c.name, PasswordHash: "hash"})
		change := specify(t, User).given(annRegistered).when(ChangeUserName{ID: ann, By: ann, Name: c.name})
		if !c.fits {
			register.thenFails(ErrUserName)
			change.thenFails(ErrUserName)
			continue
		}
		register.then(events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: c.name, PasswordHash: "hash", Roles: []string{"user"}})
		change.then(events.UserNameChanged{UserID: ann, Name: c.name})
	}
}

func TestOnlyTheUserChangesTheirName(t *testing.T) {
	disabled := events.UserDisabled{UserID: ann, Epoch: 2}
	byBob := ChangeUserName{ID: ann, By: bob, Name: "Bob"}
	specify(t, User).given(annRegistered).when(byBob).thenFails(ErrNotFound)
	specify(t, User).given(annRegistered, disabled).when(byBob).thenFails(ErrNotFound)
	specify(t, User).given().when(byBob).thenFails(ErrNotFound)
	specify(t, User).given().when(ChangeUserName{ID: ann, By: ann, Name: "Ann"}).thenFails(ErrNotFound)
	specify(t, User).given(annRegistered).when(ChangeUserName{ID: ann, By: bob}).thenFails(ErrNotFound)
}

func TestTheSameNameAgainChangesNothing(t *testing.T) {
	specify(t, User).given(annRegistered).when(ChangeUserName{ID: ann, By: ann, Name: "Ann"}).then()
	renamed := events.UserNameChanged{UserID: ann, Name: "Anna"}
	specify(t, User).given(annRegistered, renamed).when(ChangeUserName{ID: ann, By: ann, Name: "Anna"}).then()
	specify(t, User).given(annRegistered, renamed).when(ChangeUserName{ID: ann, By: ann, Name: "Ann"}).
		then(events.UserNameChanged{UserID: ann, Name: "Ann"})
}

func TestADisabledUserChangesNothing(t *testing.T) {
	specify(t, User).given(annRegistered, events.UserDisabled{UserID: ann, Epoch: 2}).
		when(ChangeUserName{ID: ann, By: ann, Name: "Anna"}).
		thenFails(ErrUserDisabled)
}

func TestTheUserAndAdminsMayDisableAUser(t *testing.T) {
	disabled := events.UserDisabled{UserID: ann, Epoch: 2}
	specify(t, User).given(annRegistered).when(DisableUser{ID: ann, By: Actor{User: ann}}).then(disabled)
	specify(t, User).given(annRegistered).when(DisableUser{ID: ann, By: Actor{User: bob, Admin: true}}).then(disabled)
	specify(t, User).given(annRegistered).when(DisableUser{ID: ann, By: Actor{User: bob}}).thenFails(ErrNotFound)
	specify(t, User).given(annRegistered, disabled).when(DisableUser{ID: ann, By: Actor{User: bob}}).thenFails(ErrNotFound)
	specify(t, User).given().when(DisableUser{ID: ann, By: Actor{User: bob, Admin: true}}).thenFails(ErrNotFound)
}

func TestDisablingADisabledUserChangesNothing(t *testing.T) {
	specify(t, User).given(annRegistered, events.UserDisabled{UserID: ann, Epoch: 2}).when(DisableUser{ID: ann, By: Actor{User: ann}}).then()
}

func TestAnAdminsRolesAreBoth(t *testing.T) {
	specify(t, User).given().when(RegisterUser{ID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Role: RoleAdmin}).
		then(events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Roles: []string{"user", "admin"}})
}

func TestOnlyAdminsChangeRolesAndATokenOfTheOldOneIsRefused(t *testing.T) {
	promoted := events.UserRoleChanged{UserID: ann, Roles: []string{"user", "admin"}, Epoch: 2}
	admin := Actor{User: bob, Admin: true}
	specify(t, User).given(annRegistered).when(ChangeUserRole{ID: ann, By: admin, Role: RoleAdmin}).then(promoted)
	specify(t, User).given(annRegistered, promoted).when(ChangeUserRole{ID: ann, By: admin, Role: RoleUser}).
		then(events.UserRoleChanged{UserID: ann, Roles: []string{"user"}, Epoch: 3})
	specify(t, User).given(annRegistered, promoted).when(ChangeUserRole{ID: ann, By: admin, Role: RoleAdmin}).then()
	specify(t, User).given(annRegistered).when(ChangeUserRole{ID: ann, By: admin, Role: "root"}).thenFails(ErrUserRole)
	specify(t, User).given(annRegistered).when(ChangeUserRole{ID: ann, By: Actor{User: ann}, Role: RoleAdmin}).thenFails(ErrNotFound)
	specify(t, User).given(annRegistered).when(ChangeUserRole{ID: ann, By: Actor{User: bob}, Role: RoleUser}).thenFails(ErrNotFound)
	specify(t, User).given().when(ChangeUserRole{ID: ann, By: admin, Role: RoleAdmin}).thenFails(ErrNotFound)
}

func TestADisabledUserBecomesNoAdmin(t *testing.T) {
	disabled := events.UserDisabled{UserID: ann, Epoch: 2}
	admin := Actor{User: bob, Admin: true}
	specify(t, User).given(annRegistered, disabled).when(ChangeUserRole{ID: ann, By: admin, Role: RoleAdmin}).thenFails(ErrUserDisabled)
	wasAdmin := events.UserRoleChanged{UserID: ann, Roles: []string{"user", "admin"}, Epoch: 2}
	specify(t, User).given(annRegistered, wasAdmin, events.UserDisabled{UserID: ann, Epoch: 3}).
		when(ChangeUserRole{ID: ann, By: admin, Role: RoleUser}).
		then(events.UserRoleChanged{UserID: ann, Roles: []string{"user"}, Epoch: 4})
}

func TestOnlyAdminsLetAUserInAgain(t *testing.T) {
	disabled := events.UserDisabled{UserID: ann, Epoch: 2}
	specify(t, User).given(annRegistered, disabled).when(EnableUser{ID: ann, By: Actor{User: bob, Admin: true}}).then(events.UserEnabled{UserID: ann})
	specify(t, User).given(annRegistered, disabled).when(EnableUser{ID: ann, By: Actor{User: ann}}).thenFails(ErrNotFound)
	specify(t, User).given(annRegistered).when(EnableUser{ID: ann, By: Actor{User: bob, Admin: true}}).then()
	specify(t, User).given(annRegistered, disabled, events.UserEnabled{UserID: ann}).when(DisableUser{ID: ann, By: Actor{User: ann}}).
		then(events.UserDisabled{UserID: ann, Epoch: 3})
}

func TestSigningOutBeginsAnEpochThatEndsEverySession(t *testing.T) {
	registered := events.UserRegistered{UserID: ann, Roles: []string{"user"}}
	out := events.UserSignedOut{UserID: ann, Epoch: 2}
	for _, by := range []Actor{{User: ann}, {User: bob, Admin: true}} {
		specify(t, User).given(registered).when(SignOutUser{ID: ann, By: by}).then(out)
	}
	specify(t, User).given(registered, out).when(SignOutUser{ID: ann, By: Actor{User: ann}}).then(events.UserSignedOut{UserID: ann, Epoch: 3})
	specify(t, User).given(registered).when(SignOutUser{ID: ann, By: Actor{User: bob}}).thenFails(ErrNotFound)
	specify(t, User).given().when(SignOutUser{ID: ann, By: Actor{User: ann}}).thenFails(ErrNotFound)
}
