package outbox

import (
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Users is the topic of what happens to users.
const Users = "users"

// User lists the contracts about users.
var User = []Contract{
	Define(Users, func(e engine.Recorded[events.UserRegistered]) UserRegistered {
		return UserRegistered{UserID: e.Event.UserID, At: e.At}
	}),
	Define(Users, func(e engine.Recorded[events.UserVerificationRequested]) UserVerificationRequested {
		return UserVerificationRequested{UserID: e.Event.UserID, At: e.At}
	}),
	Define(Users, func(e engine.Recorded[events.UserVerified]) UserVerified {
		return UserVerified{UserID: e.Event.UserID, At: e.At}
	}),
	Define(Users, func(e engine.Recorded[events.UserNameChanged]) UserNameChanged {
		return UserNameChanged{UserID: e.Event.UserID, At: e.At}
	}),
	Define(Users, func(e engine.Recorded[events.UserDisabled]) UserDisabled {
		return UserDisabled{UserID: e.Event.UserID, At: e.At}
	}),
}

// UserRegistered says that somebody signed up. Where addresses are verified, anybody can sign up with any address, taken
// ones included: wait for UserVerified before you count on them.
type UserRegistered struct {
	UserID uuid.UUID `json:"user_id"`
	At     time.Time `json:"at"`
}

// UserVerificationRequested says that somebody who signed up has to show that the address is theirs.
type UserVerificationRequested struct {
	UserID uuid.UUID `json:"user_id"`
	At     time.Time `json:"at"`
}

// UserVerified says that somebody who signed up has shown that the address is theirs.
type UserVerified struct {
	UserID uuid.UUID `json:"user_id"`
	At     time.Time `json:"at"`
}

// UserNameChanged says that a user has another name. It does not say which.
type UserNameChanged struct {
	UserID uuid.UUID `json:"user_id"`
	At     time.Time `json:"at"`
}

// UserDisabled says that a user was shut out.
type UserDisabled struct {
	UserID uuid.UUID `json:"user_id"`
	At     time.Time `json:"at"`
}

// Contract is "user.registered.v1".
func (UserRegistered) Contract() string { return "user.registered.v1" }

// Contract is "user.verification_requested.v1".
func (UserVerificationRequested) Contract() string { return "user.verification_requested.v1" }

// Contract is "user.verified.v1".
func (UserVerified) Contract() string { return "user.verified.v1" }

// Contract is "user.name_changed.v1".
func (UserNameChanged) Contract() string { return "user.name_changed.v1" }

// Contract is "user.disabled.v1".
func (UserDisabled) Contract() string { return "user.disabled.v1" }
