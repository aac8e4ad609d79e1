package events

import (
	"time"

	"github.com/google/uuid"
)

// UserEvent is the closed set of facts a user's stream may hold.
type UserEvent interface{ user() }

// User lists the user events in the order they happen.
var User = []Type{
	Define[UserRegistered]("user.registered"),
	Define[UserVerificationRequested]("user.verification_requested"),
	Define[UserVerified]("user.verified"),
	Define[UserNameChanged]("user.name_changed"),
	Define[UserRoleChanged]("user.role_changed"),
	Define[UserPasswordChanged]("user.password_changed"),
	Define[UserPasswordRehashed]("user.password_rehashed"),
	Define[UserSignedOut]("user.signed_out"),
	Define[UserDisabled]("user.disabled"),
	Define[UserEnabled]("user.enabled"),
}

// UserRegistered starts a user's stream.
type UserRegistered struct {
	UserID       uuid.UUID `json:"user_id"       pii:"subject"`
	Email        string    `json:"email"         pii:"seal"`
	Name         string    `json:"name"          pii:"seal"`
	PasswordHash string    `json:"password_hash" pii:"secret"`
	Roles        []string  `json:"roles"`
}

// UserVerificationRequested says that the user has to show that the address is theirs before the account is one. Until
// then the address does not belong to them, and may come to belong to somebody else.
type UserVerificationRequested struct {
	UserID   uuid.UUID `json:"user_id" pii:"subject"`
	VerifyBy time.Time `json:"verify_by"` // afterwards it is too late
}

// UserVerified says that whoever reads the address's mail also knows the account's password.
type UserVerified struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
}

// UserNameChanged gives the user another name.
type UserNameChanged struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Name   string    `json:"name"    pii:"seal"`
}

// UserRoleChanged gives the user other roles. Tokens that say otherwise are refused.
type UserRoleChanged struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Roles  []string  `json:"roles"`
	Epoch  int64     `json:"epoch"` // tokens of earlier credential epochs are refused
}

// UserPasswordChanged gives the user another password, and ends their sessions: all of them, but for one that was confirmed
// in the same breath.
type UserPasswordChanged struct {
	UserID       uuid.UUID `json:"user_id"       pii:"subject"`
	PasswordHash string    `json:"password_hash" pii:"secret"`
	Epoch        int64     `json:"epoch"` // tokens and sessions of earlier credential epochs are refused
}

// UserPasswordRehashed stores the same password hashed at the cost of today. Nobody is signed out.
type UserPasswordRehashed struct {
	UserID       uuid.UUID `json:"user_id"       pii:"subject"`
	PasswordHash string    `json:"password_hash" pii:"secret"`
}

// UserSignedOut ends all sessions of the user at once, whoever began them.
type UserSignedOut struct {
	UserID uuid.UUID `json:"user_id"`
	Epoch  int64     `json:"epoch"` // tokens and sessions of earlier credential epochs are refused
}

// UserDisabled shuts the user out: no sign-in, and every token that is out is refused.
type UserDisabled struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Epoch  int64     `json:"epoch"` // tokens of earlier credential epochs are refused
}

// UserEnabled lets the user in again. What was refused stays refused: they sign in anew.
type UserEnabled struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
}

func (UserRegistered) user()            {}
func (UserVerificationRequested) user() {}
func (UserVerified) user()              {}
func (UserNameChanged) user()           {}
func (UserPasswordChanged) user()       {}
func (UserPasswordRehashed) user()      {}
func (UserRoleChanged) user()           {}
func (UserSignedOut) user()             {}
func (UserDisabled) user()              {}
func (UserEnabled) user()               {}

// CutOff implements Revoking.
func (e UserRoleChanged) CutOff() CutOff { return CutOff{Of: OfUser, Epoch: e.Epoch} }

// CutOff implements Revoking.
func (e UserPasswordChanged) CutOff() CutOff { return CutOff{Of: OfUser, Epoch: e.Epoch} }

// CutOff implements Revoking.
func (e UserSignedOut) CutOff() CutOff { return CutOff{Of: OfUser, Epoch: e.Epoch} }

// CutOff implements Revoking.
func (e UserDisabled) CutOff() CutOff { return CutOff{Of: OfUser, Epoch: e.Epoch} }
