package commands

import (
	"testing"
	"time"

	"github.com/atlas-platform/atlas/events"
)

func TestPasswordIsChangedByItsOwnerWhoKnowsIt(t *testing.T) {
	t.Parallel()
	ann := newID()
	registered := events.UserRegistered{UserID: ann, PasswordHash: "old", Roles: []string{"user"}}
	change := ChangePassword{ID: ann, By: ann, Old: "old", New: "new", Epoch: 2}
	changed := events.UserPasswordChanged{UserID: ann, PasswordHash: "new", Epoch: 2}
	specify(t, User).given(registered).when(change).then(changed)
	specify(t, User).given(registered, changed).when(change).thenFails(ErrPasswordChanged)
	specify(t, User).given(registered, events.UserRoleChanged{UserID: ann, Epoch: 2}).when(change).thenFails(ErrPasswordChanged)
	specify(t, User).given(registered, events.UserDisabled{UserID: ann, Epoch: 2}).when(change).thenFails(ErrUserDisabled)
	specify(t, User).given().when(change).thenFails(ErrNotFound)
	specify(t, User).given(registered).when(ChangePassword{ID: ann, By: newID(), Old: "old", New: "new", Epoch: 2}).thenFails(ErrNotFound)
}

func TestPasswordIsHashedAnewOnlyIfItIsStillTheSame(t *testing.T) {
	t.Parallel()
	ann := newID()
	registered := events.UserRegistered{UserID: ann, PasswordHash: "old"}
	rehash := RehashPassword{ID: ann, Old: "old", New: "dear"}
	rehashed := events.UserPasswordRehashed{UserID: ann, PasswordHash: "dear"}
	specify(t, User).given(registered).when(rehash).then(rehashed)
	specify(t, User).given(registered, rehashed).when(rehash).then()
	specify(t, User).given(registered, events.UserPasswordChanged{UserID: ann, PasswordHash: "other", Epoch: 2}).when(rehash).then()
	specify(t, User).given().when(rehash).then()
}

func TestAUserIsVerifiedOnceAndInTime(t *testing.T) {
	t.Parallel()
	ann, by := newID(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	register := RegisterUser{ID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", VerifyBy: by}
	registered := events.UserRegistered{UserID: ann, Email: "ann@example.com", Name: "Ann", PasswordHash: "hash", Roles: []string{"user"}}
	requested, verified := events.UserVerificationRequested{UserID: ann, VerifyBy: by}, events.UserVerified{UserID: ann}
	specify(t, User).given().when(register).then(registered, requested)
	specify(t, User).given(registered, requested).when(VerifyUser{ID: ann, At: by}).then(verified)
	specify(t, User).given(registered, requested).when(VerifyUser{ID: ann, At: by.Add(time.Second)}).thenFails(ErrLinkUsedOrExpired)
	specify(t, User).given(registered, requested, verified).when(VerifyUser{ID: ann, At: by}).thenFails(ErrLinkUsedOrExpired)
	specify(t, User).given(registered).when(VerifyUser{ID: ann, At: by}).thenFails(ErrLinkUsedOrExpired)
	specify(t, User).given(registered, requested, events.UserDisabled{UserID: ann, Epoch: 2}).when(VerifyUser{ID: ann, At: by}).thenFails(ErrLinkUsedOrExpired)
	specify(t, User).given().when(VerifyUser{ID: ann, At: by}).thenFails(ErrLinkUsedOrExpired)
}
