package commands

import (
	"fmt"
	"strings"
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
	roles        []string
	epoch        int64 // counts the changes after which earlier tokens are refused, from 1
}

// Actor is who gives a command, and what they may do beyond their own things.
type Actor struct {
	User  uuid.UUID
	Admin bool
}

// UserCommand is the closed set of what can be asked of a user.
type UserCommand interface{ userCommand() }

// RegisterUser makes the user. Handle it together with ReserveEmail, so that an address has one user.
type RegisterUser struct {
	ID           uuid.UUID
	Email        string // normalized
	Name         string
	PasswordHash string
}

// ChangeUserName gives the user another name. Only the user may.
type ChangeUserName struct {
	ID   uuid.UUID
	By   uuid.UUID
	Name string
}

// DisableUser shuts the user out. The user and admins may.
type DisableUser struct {
	ID uuid.UUID
	By Actor
}

func (RegisterUser) userCommand()   {}
func (ChangeUserName) userCommand() {}
func (DisableUser) userCommand()    {}

func decideUser(u user, command UserCommand) ([]events.UserEvent, error) {
	switch c := command.(type) {
	case RegisterUser:
		return registerUser(u, c)
	case ChangeUserName:
		return changeUserName(u, c)
	case DisableUser:
		return disableUser(u, c)
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
	return []events.UserEvent{events.UserRegistered{
		UserID: c.ID, Email: c.Email, Name: c.Name, PasswordHash: c.PasswordHash, Roles: []string{"user"},
	}}, nil
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

func disableUser(u user, c DisableUser) ([]events.UserEvent, error) {
	switch {
	case !u.exists || c.By.User != c.ID && !c.By.Admin:
		return nil, ErrNotFound
	case u.disabled:
		return nil, nil
	}
	return []events.UserEvent{events.UserDisabled{UserID: c.ID, Epoch: u.epoch + 1}}, nil
}

func evolveUser(u user, event events.UserEvent) user {
	switch e := event.(type) {
	case events.UserRegistered:
		u.exists, u.epoch = true, 1
		u.email, u.name, u.passwordHash, u.roles = e.Email, e.Name, e.PasswordHash, e.Roles
	case events.UserNameChanged:
		u.name = e.Name
	case events.UserDisabled:
		u.disabled, u.epoch = true, e.Epoch
	default:
		panic(fmt.Sprintf("user: event %T not evolved", event))
	}
	return u
}

func validName(name string) bool {
	return strings.TrimSpace(name) != "" && utf8.RuneCountInString(name) <= maxNameLength
}
