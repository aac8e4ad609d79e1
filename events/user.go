package events

import "github.com/google/uuid"

// UserEvent is the closed set of facts a user's stream may hold.
type UserEvent interface{ user() }

// User lists the user events in the order they happen.
var User = []Type{
	Define[UserRegistered]("user.registered"),
	Define[UserNameChanged]("user.name_changed"),
	Define[UserDisabled]("user.disabled"),
}

// UserRegistered starts a user's stream.
type UserRegistered struct {
	UserID       uuid.UUID `json:"user_id"       pii:"subject"`
	Email        string    `json:"email"         pii:"seal"`
	Name         string    `json:"name"          pii:"seal"`
	PasswordHash string    `json:"password_hash" pii:"secret"`
	Roles        []string  `json:"roles"`
}

// UserNameChanged gives the user another name.
type UserNameChanged struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Name   string    `json:"name"    pii:"seal"`
}

// UserDisabled shuts the user out: no sign-in, and every token that is out is refused.
type UserDisabled struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
	Epoch  int64     `json:"epoch"` // tokens of earlier credential epochs are refused
}

func (UserRegistered) user()  {}
func (UserNameChanged) user() {}
func (UserDisabled) user()    {}

// CutOff implements Revoking.
func (e UserDisabled) CutOff() CutOff { return CutOff{Of: OfUser, Epoch: e.Epoch} }
