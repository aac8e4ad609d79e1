package commands

import (
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of what proves who a user is.
var (
	ErrLinkUsedOrExpired = fault.New(fault.Gone, "link_used_or_expired", "this was used, has expired or is not valid; sign up again")
	ErrPasswordChanged   = fault.New(fault.Conflict, "password_changed", "the password or the rights of the account were changed meanwhile; try again")
)

// VerifyUser says that the user has shown to read the address's mail and to know the password. Handle it together with
// ReserveEmail: from then on the address is the user's.
type VerifyUser struct {
	ID uuid.UUID
	At time.Time
}

// ChangePassword gives the user another password. Only the user may. Old is the hash that whoever gives the command has
// checked a password against: if it is not the user's any more, somebody was faster. Sessions end; handle it together
// with ConfirmSession to keep one.
type ChangePassword struct {
	ID, By   uuid.UUID
	Old, New string // hashes
	Epoch    int64  // the credential epoch that it begins: the one after the account's
}

// RehashPassword stores the same password hashed anew, if Old still is its hash; otherwise nothing happens.
type RehashPassword struct {
	ID       uuid.UUID
	Old, New string // hashes
}

func (VerifyUser) userCommand()     {}
func (ChangePassword) userCommand() {}
func (RehashPassword) userCommand() {}

func verifyUser(u user, c VerifyUser) ([]events.UserEvent, error) {
	if !u.exists || u.disabled || u.verifyBy.IsZero() || c.At.After(u.verifyBy) {
		return nil, ErrLinkUsedOrExpired
	}
	return []events.UserEvent{events.UserVerified{UserID: c.ID}}, nil
}

func changePassword(u user, c ChangePassword) ([]events.UserEvent, error) {
	switch {
	case !u.exists || c.By != c.ID:
		return nil, ErrNotFound
	case u.disabled:
		return nil, ErrUserDisabled
	case u.passwordHash != c.Old || u.epoch+1 != c.Epoch:
		return nil, ErrPasswordChanged
	}
	return []events.UserEvent{events.UserPasswordChanged{UserID: c.ID, PasswordHash: c.New, Epoch: c.Epoch}}, nil
}

func rehashPassword(u user, c RehashPassword) ([]events.UserEvent, error) {
	if !u.exists || u.passwordHash != c.Old {
		return nil, nil
	}
	return []events.UserEvent{events.UserPasswordRehashed{UserID: c.ID, PasswordHash: c.New}}, nil
}
