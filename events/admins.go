package events

import "github.com/google/uuid"

// AdminsEvent is the closed set of facts the roll of admins may hold. It is one stream: whoever changes it sees all of
// it, which is how the last admin is known to be the last.
type AdminsEvent interface{ admins() }

// Admins lists the events of the roll of admins.
var Admins = []Type{
	Define[AdminJoined]("admins.joined"),
	Define[AdminLeft]("admins.left"),
}

// AdminJoined puts a user who may act as an admin on the roll.
type AdminJoined struct {
	UserID uuid.UUID `json:"user_id" pii:"subject"`
}

// AdminLeft takes one off who has another role now, or was shut out and may come back.
type AdminLeft struct {
	UserID    uuid.UUID `json:"user_id" pii:"subject"`
	Suspended bool      `json:"suspended"` // shut out, with the role kept
}

func (AdminJoined) admins() {}
func (AdminLeft) admins()   {}
