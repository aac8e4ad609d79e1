package commands

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/logtest"
)

var (
	annJoined    = events.AdminJoined{UserID: ann}
	bobJoined    = events.AdminJoined{UserID: bob}
	annSuspended = events.AdminLeft{UserID: ann, Suspended: true}
)

func TestTheLastAdminStays(t *testing.T) {
	for _, leave := range []LeaveAdmins{{User: ann}, {User: ann, Suspended: true}} {
		specify(t, Admins).given(annJoined).when(leave).thenFails(ErrLastAdmin)
		specify(t, Admins).given(annJoined, bobJoined).when(leave).then(events.AdminLeft{UserID: ann, Suspended: leave.Suspended})
		specify(t, Admins).given(bobJoined, annJoined, events.AdminLeft{UserID: bob, Suspended: true}).when(leave).thenFails(ErrLastAdmin)
		specify(t, Admins).given(bobJoined).when(leave).then()
		specify(t, Admins).given().when(leave).then()
	}
	specify(t, Admins).given(annJoined).when(LeaveAdmins{User: ann, Anyway: true}).then(events.AdminLeft{UserID: ann})
}

func TestASuspendedAdminComesBackUnlessTheRoleWasTaken(t *testing.T) {
	back := ReturnToAdmins{User: ann}
	specify(t, Admins).given(annJoined, bobJoined, annSuspended).when(back).then(annJoined)
	specify(t, Admins).given(annJoined, bobJoined, annSuspended, events.AdminLeft{UserID: ann}).when(back).then()
	specify(t, Admins).given(bobJoined).when(back).then()
	specify(t, Admins).given(annJoined).when(back).then()
	specify(t, Admins).given(annJoined, bobJoined, annSuspended).when(LeaveAdmins{User: ann}).then(events.AdminLeft{UserID: ann})
	specify(t, Admins).given(annJoined).when(JoinAdmins{User: ann}).then()
}

// Each is refused only because of what the other does, which a check before the write would not see.
func TestTwoAdminsWhoDemoteEachOtherAtOnceLeaveOne(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	here, there := NewHandler(l.Store), NewHandler(l.Node(t).Store)
	for _, c := range []struct {
		id   uuid.UUID
		name string
	}{{ann, "Ann"}, {bob, "Bob"}} {
		if _, err := here.Handle(t.Context(),
			User.On(c.id, RegisterUser{ID: c.id, Email: c.name + "@example.com", Name: c.name, PasswordHash: "hash", Role: RoleAdmin}),
			Admins.On(AdminsID, JoinAdmins{User: c.id})); err != nil {
			t.Fatal(err)
		}
	}
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() {
		_, errs[0] = here.Handle(t.Context(), ChangeUserRole{ID: ann, By: Actor{User: bob, Admin: true}, Role: RoleUser}.Steps()...)
	})
	both.Go(func() {
		_, errs[1] = there.Handle(t.Context(), DisableUser{ID: bob, By: Actor{User: ann, Admin: true}}.Steps()...)
	})
	both.Wait()
	if first, second := errors.Is(errs[0], ErrLastAdmin), errors.Is(errs[1], ErrLastAdmin); first == second || errs[0] != nil && errs[1] != nil {
		t.Errorf("got %v and %v, want that exactly one is refused as the last admin", errs[0], errs[1])
	}
}
