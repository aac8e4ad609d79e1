package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of a user's rules.
var (
	ErrUserName     = fault.New(fault.Invalid, "user_name_invalid", "the name must have 1 to 200 characters, not all of them spaces")
	ErrUserExists   = fault.New(fault.Conflict, "user_exists", "a user with this id exists")
	ErrUserDisabled = fault.New(fault.Forbidden, "user_disabled", "the account is disabled")
	ErrUserRole     = fault.New(fault.Invalid, "user_role_invalid", "the role must be user or admin")
)

// maxNameLength is in characters.
const maxNameLength = 200

// User decides what may happen to one user.
var User = Decider[user, UserCommand, events.UserEvent]{
	Category: "user",
	Decide:   decideUser,
	Evolve:   evolveUser,
}

type user struct {
	exists       bool
	disabled     bool
	email        string
	name         string
	passwordHash string
	verifyBy     time.Time // zero unless the address is still to be verified
	roles        []string
	epoch        int64 // counts the changes after which earlier tokens are refused, from 1
	sessionEpoch int64 // of the last such change that ended the user's sessions too
}

// The roles of users. Every user has the first; admins have both.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// rolesOf returns what a user of the role holds.
func rolesOf(role string) []string {
	if role == RoleAdmin {
		return []string{RoleUser, RoleAdmin}
	}
	return []string{RoleUser}
}

// Actor is who gives a command, and what they may do beyond their own things.
type Actor struct {
	User  uuid.UUID // nil for a service, and for whoever runs the installation
	Admin bool
}

// UserCommand is the closed set of what can be asked of a user.
type UserCommand interface{ userCommand() }

// RegisterUser makes the user. Handle it together with ReserveEmail, so that an address has one user; where the user has
// to verify the address first (VerifyBy), that comes with VerifyUser. Any number may have registered with an address that
// none of them has verified: they know nothing of each other, and neither has another's password.
type RegisterUser struct {
	ID           uuid.UUID
	Email        string // normalized
	Name         string
	PasswordHash string
	VerifyBy     time.Time // until when the user has to show that the address is theirs; zero asks for nothing
	Role         string    // RoleUser unless set; handle RoleAdmin together with JoinAdmins
}

// ChangeUserName gives the user another name. Only the user may.
type ChangeUserName struct {
	ID   uuid.UUID
	By   uuid.UUID
	Name string
}

// ChangeUserRole makes the user an admin, or no longer one; tokens that say otherwise are refused from then on. Only
// admins may. Handle its Steps, which keep the roll of admins.
type ChangeUserRole struct {
	ID   uuid.UUID
	By   Actor
	Role string
}

// SignOutUser ends all sessions of the user. The user and admins may.
type SignOutUser struct {
	ID uuid.UUID
	By Actor
}

// DisableUser shuts the user out. The user and admins may. Handle its Steps.
type DisableUser struct {
	ID uuid.UUID
	By Actor
}

// EnableUser lets the user in again, who signs in anew. Only admins may. Handle its Steps.
type EnableUser struct {
	ID uuid.UUID
	By Actor
}

func (RegisterUser) userCommand()   {}
func (ChangeUserName) userCommand() {}
func (ChangeUserRole) userCommand() {}
func (SignOutUser) userCommand()    {}
func (DisableUser) userCommand()    {}
func (EnableUser) userCommand()     {}

func decideUser(u user, command UserCommand) ([]events.UserEvent, error) {
	switch c := command.(type) {
	case RegisterUser:
		return registerUser(u, c)
	case VerifyUser:
		return verifyUser(u, c)
	case ChangePassword:
		return changePassword(u, c)
	case RehashPassword:
		return rehashPassword(u, c)
	case ChangeUserName:
		return changeUserName(u, c)
	case ChangeUserRole:
		return changeUserRole(u, c)
	case SignOutUser:
		return signOutUser(u, c)
	case DisableUser:
		return disableUser(u, c)
	case EnableUser:
		return enableUser(u, c)
	}
	panic(fmt.Sprintf("user: command %T not decided", command))
}

func registerUser(u user, c RegisterUser) ([]events.UserEvent, error) {
	if u.exists {
		return nil, ErrUserExists
	}
	if !validName(c.Name) {
		return nil, at(ErrUserName, "/name", "invalid")
	}
	decided := []events.UserEvent{events.UserRegistered{
		UserID: c.ID, Email: c.Email, Name: c.Name, PasswordHash: c.PasswordHash, Roles: rolesOf(c.Role),
	}}
	if !c.VerifyBy.IsZero() {
		decided = append(decided, events.UserVerificationRequested{UserID: c.ID, VerifyBy: c.VerifyBy.UTC()})
	}
	return decided, nil
}

func changeUserName(u user, c ChangeUserName) ([]events.UserEvent, error) {
	switch {
	case !u.exists || c.By != c.ID:
		return nil, ErrNotFound
	case u.disabled:
		return nil, ErrUserDisabled
	case !validName(c.Name):
		return nil, at(ErrUserName, "/name", "invalid")
	case u.name == c.Name:
		return nil, nil
	}
	return []events.UserEvent{events.UserNameChanged{UserID: c.ID, Name: c.Name}}, nil
}

// changeUserRole makes nobody an admin who is disabled: the roll of admins holds those who may act.
func changeUserRole(u user, c ChangeUserRole) ([]events.UserEvent, error) {
	switch {
	case !u.exists || !c.By.Admin:
		return nil, ErrNotFound
	case c.Role != RoleUser && c.Role != RoleAdmin:
		return nil, at(ErrUserRole, "/role", "not_allowed")
	case slices.Equal(u.roles, rolesOf(c.Role)):
		return nil, nil
	case u.disabled && c.Role == RoleAdmin:
		return nil, ErrUserDisabled
	}
	return []events.UserEvent{events.UserRoleChanged{UserID: c.ID, Roles: rolesOf(c.Role), Epoch: u.epoch + 1}}, nil
}

func signOutUser(u user, c SignOutUser) ([]events.UserEvent, error) {
	if !u.exists || c.By.User != c.ID && !c.By.Admin {
		return nil, ErrNotFound
	}
	return []events.UserEvent{events.UserSignedOut{UserID: c.ID, Epoch: u.epoch + 1}}, nil
}

func disableUser(u user, c DisableUser) ([]events.UserEvent, error) {
	switch {
	case !u.exists || c.By.User != c.ID && !c.By.Admin:
		return nil, ErrNotFound
	case u.disabled:
		return nil, nil
	}
	return []events.UserEvent{events.UserDisabled{UserID: c.ID, Epoch: u.epoch + 1}}, nil
}

func enableUser(u user, c EnableUser) ([]events.UserEvent, error) {
	switch {
	case !u.exists || !c.By.Admin:
		return nil, ErrNotFound
	case !u.disabled:
		return nil, nil
	}
	return []events.UserEvent{events.UserEnabled{UserID: c.ID}}, nil
}

func evolveUser(u user, event events.UserEvent) user {
	switch e := event.(type) {
	case events.UserRegistered:
		u.exists, u.epoch, u.sessionEpoch = true, 1, 1
		u.email, u.name, u.passwordHash, u.roles = e.Email, e.Name, e.PasswordHash, e.Roles
	case events.UserVerificationRequested:
		u.verifyBy = e.VerifyBy
	case events.UserVerified:
		u.verifyBy = time.Time{}
	case events.UserPasswordChanged:
		u.passwordHash, u.epoch, u.sessionEpoch = e.PasswordHash, e.Epoch, e.Epoch
	case events.UserPasswordRehashed:
		u.passwordHash = e.PasswordHash
	case events.UserNameChanged:
		u.name = e.Name
	case events.UserRoleChanged:
		u.roles, u.epoch = e.Roles, e.Epoch
	case events.UserSignedOut:
		u.epoch, u.sessionEpoch = e.Epoch, e.Epoch
	case events.UserDisabled:
		u.disabled, u.epoch, u.sessionEpoch = true, e.Epoch, e.Epoch
	case events.UserEnabled:
		u.disabled = false
	default:
		panic(fmt.Sprintf("user: event %T not evolved", event))
	}
	return u
}

func validName(name string) bool {
	return strings.TrimSpace(name) != "" && utf8.RuneCountInString(name) <= maxNameLength
}
