package events

import "github.com/google/uuid"

// EmailEvent is the closed set of facts the stream of an e-mail address may hold. The stream's id is a keyed hash of
// the address, so the log does not tell which addresses have accounts.
type EmailEvent interface{ email() }

// Email lists the events of an address's reservation.
var Email = []Type{
	Define[EmailReserved]("email.reserved"),
	Define[EmailReleased]("email.released"),
}

// EmailReserved says that the address belongs to the user until it is released.
type EmailReserved struct {
	UserID uuid.UUID `json:"user_id"`
}

// EmailReleased says that the address is free again.
type EmailReleased struct {
	UserID uuid.UUID `json:"user_id"`
}

func (EmailReserved) email() {}
func (EmailReleased) email() {}
