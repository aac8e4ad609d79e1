package commands

import (
	"fmt"
	"maps"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrLastAdmin keeps an installation from locking everyone out of its administration.
var ErrLastAdmin = fault.New(fault.Conflict, "last_admin", "this is the last admin who is not disabled; make another one first")

// Admins decides who is on the roll of admins. It is one stream, handled in the same atomic write as what is done to the
// user: two admins who demote each other at once cannot both succeed.
var Admins = Decider[admins, AdminsCommand, events.AdminsEvent]{
	Category: "admins",
	Decide:   decideAdmins,
	Evolve:   evolveAdmins,
}

// AdminsID is the id of the one roll.
var AdminsID = uuid.MustParse("00000000-0000-8000-8000-00000000ad01")

// admins says of each admin whether they may act as one now: those who are disabled may not. It is never changed in place,
// since states are kept and shared.
type admins map[uuid.UUID]bool

// lastOne says whether nobody but the user may act as an admin.
func (a admins) lastOne(user uuid.UUID) bool {
	for other, active := range a {
		if active && other != user {
			return false
		}
	}
	return a[user]
}

// AdminsCommand is the closed set of what can be asked of the roll.
type AdminsCommand interface{ adminsCommand() }

// JoinAdmins puts the user on the roll, who may be on it already.
type JoinAdmins struct{ User uuid.UUID }

// LeaveAdmins takes the user off, who need not be on it. The last one who may act stays: ErrLastAdmin.
type LeaveAdmins struct {
	User      uuid.UUID
	Suspended bool // the role is kept for ReturnToAdmins
	Anyway    bool // the last one too: for who is forgotten, which nothing may stand in the way of
}

// ReturnToAdmins puts a suspended admin back, and nobody else.
type ReturnToAdmins struct{ User uuid.UUID }

func (JoinAdmins) adminsCommand()     {}
func (LeaveAdmins) adminsCommand()    {}
func (ReturnToAdmins) adminsCommand() {}

// Steps are the steps of changing the role: the user's, and what it does to the roll of admins.
func (c ChangeUserRole) Steps() []Step {
	var roll AdminsCommand = LeaveAdmins{User: c.ID}
	if c.Role == RoleAdmin {
		roll = JoinAdmins{User: c.ID}
	}
	return []Step{User.On(c.ID, c), Admins.On(AdminsID, roll)}
}

// Steps are the steps of shutting a user out, who may be an admin.
func (c DisableUser) Steps() []Step {
	return []Step{User.On(c.ID, c), Admins.On(AdminsID, LeaveAdmins{User: c.ID, Suspended: true})}
}

// Steps are the steps of letting a user in again, who may be an admin.
func (c EnableUser) Steps() []Step {
	return []Step{User.On(c.ID, c), Admins.On(AdminsID, ReturnToAdmins{User: c.ID})}
}

func decideAdmins(a admins, command AdminsCommand) ([]events.AdminsEvent, error) {
	switch c := command.(type) {
	case JoinAdmins:
		if a[c.User] {
			return nil, nil
		}
		return []events.AdminsEvent{events.AdminJoined{UserID: c.User}}, nil
	case LeaveAdmins:
		active, known := a[c.User]
		switch {
		case !known, c.Suspended && !active:
			return nil, nil
		case a.lastOne(c.User) && !c.Anyway:
			return nil, ErrLastAdmin
		}
		return []events.AdminsEvent{events.AdminLeft{UserID: c.User, Suspended: c.Suspended}}, nil
	case ReturnToAdmins:
		if active, known := a[c.User]; !known || active {
			return nil, nil
		}
		return []events.AdminsEvent{events.AdminJoined{UserID: c.User}}, nil
	}
	panic(fmt.Sprintf("admins: command %T not decided", command))
}

func evolveAdmins(a admins, event events.AdminsEvent) admins {
	a = maps.Clone(a)
	if a == nil {
		a = admins{}
	}
	switch e := event.(type) {
	case events.AdminJoined:
		a[e.UserID] = true
	case events.AdminLeft:
		a[e.UserID] = false
		if !e.Suspended {
			delete(a, e.UserID)
		}
	default:
		panic(fmt.Sprintf("admins: event %T not evolved", event))
	}
	return a
}
