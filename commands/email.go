package commands

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrEmailTaken says that the address belongs to another user. Never show it to somebody who is not signed in.
var ErrEmailTaken = fault.New(fault.Conflict, "email_taken", "the e-mail address belongs to another account")

// Email decides whom an e-mail address belongs to. The id of its stream is a keyed hash of the address.
var Email = Decider[email, EmailCommand, events.EmailEvent]{
	Category: "email",
	Decide:   decideEmail,
	Evolve:   evolveEmail,
}

// email is whom the address belongs to; the nil UUID means nobody.
type email struct{ holder uuid.UUID }

// EmailCommand is the closed set of what can be asked of an address.
type EmailCommand interface{ emailCommand() }

// ReserveEmail takes the address for a user. With IfFree, nothing happens to one that is taken.
type ReserveEmail struct {
	User   uuid.UUID
	IfFree bool
}

// ReleaseEmail gives it free, if it is the user's.
type ReleaseEmail struct{ User uuid.UUID }

func (ReserveEmail) emailCommand() {}
func (ReleaseEmail) emailCommand() {}

func decideEmail(e email, command EmailCommand) ([]events.EmailEvent, error) {
	switch c := command.(type) {
	case ReserveEmail:
		if e.holder == c.User || e.holder != uuid.Nil && c.IfFree {
			return nil, nil
		}
		if e.holder != uuid.Nil {
			return nil, ErrEmailTaken
		}
		return []events.EmailEvent{events.EmailReserved{UserID: c.User}}, nil
	case ReleaseEmail:
		if e.holder != c.User {
			return nil, nil
		}
		return []events.EmailEvent{events.EmailReleased{UserID: c.User}}, nil
	}
	panic(fmt.Sprintf("email: command %T not decided", command))
}

func evolveEmail(e email, event events.EmailEvent) email {
	switch event := event.(type) {
	case events.EmailReserved:
		e.holder = event.UserID
	case events.EmailReleased:
		e.holder = uuid.Nil
	default:
		panic(fmt.Sprintf("email: event %T not evolved", event))
	}
	return e
}
