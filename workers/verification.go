package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/mail"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Holders is where a worker finds who a user is and whom an address belongs to.
type Holders interface {
	Accounts
	Holder(ctx context.Context, address uuid.UUID) (uuid.UUID, error)
}

// Verifications makes the tokens that show that an address's mail is read.
type Verifications interface {
	Mint(user uuid.UUID, until time.Time) auth.Secret
}

const (
	verifySubject = "Complete your sign-up at Atlas"

	// The name is left out, as in the welcome: a stranger may have chosen it.
	verifyText = `Hello,

somebody, we hope you, signed up at Atlas with this address. To complete it, give this token and the password you chose:

    %s

It is good until %s. It is of no use without the password: if you did not sign up, you need do nothing, and the account
will never be one.
`

	takenSubject = "You have an Atlas account already"
	takenText    = `Hello,

somebody, perhaps you, signed up at Atlas with this address. It has an account already, and nothing has changed: sign in
with the password you have.

If that was not you, you need do nothing.
`
)

// Verification sends a mail to everyone who has to show that an address is theirs, one per message. Whose address has an
// account gets told that instead: nobody but them learns that it has. addressID returns the id of an address's stream. A
// mail that comes too late is not sent; one that can never be sent is parked as a dead letter.
func Verification(accounts Holders, sender mail.Sender, tokens Verifications, addressID func(string) uuid.UUID, log *slog.Logger) message.NoPublishHandlerFunc {
	return On(func(m *message.Message, requested engine.Recorded[events.UserVerificationRequested]) error {
		account, err := accounts.Account(m.Context(), requested.Event.UserID)
		if errors.Is(err, commands.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("load user %s: %w", requested.Event.UserID, err)
		}
		if account.Email == "" || account.Disabled || account.VerifyBy.Before(time.Now()) {
			return nil
		}
		holder, err := accounts.Holder(m.Context(), addressID(account.Email))
		if err != nil {
			return fmt.Errorf("load address of user %s: %w", account.ID, err)
		}
		letter := mail.Message{ID: m.UUID, To: account.Email, Subject: takenSubject, Text: takenText}
		if holder == uuid.Nil {
			letter.Subject = verifySubject
			letter.Text = fmt.Sprintf(verifyText, tokens.Mint(account.ID, account.VerifyBy).Reveal(), account.VerifyBy.UTC().Format("15:04 MST on 2 January 2006"))
		}
		return send(m.Context(), sender, letter, account.ID, log)
	})
}

// errMailRefused is what the dead letter says: why exactly may name the address, which must not be kept.
var errMailRefused = errors.New("the mail can never be sent")

// send sends a mail to a user. One that can never be sent is parked as a dead letter.
func send(ctx context.Context, sender mail.Sender, letter mail.Message, to uuid.UUID, log *slog.Logger) error {
	err := sender.Send(ctx, letter)
	if errors.Is(err, mail.ErrInvalidMessage) || errors.Is(err, mail.ErrRejected) {
		log.Warn("mail given up", "user", to, "message", letter.ID, "error", err)
		return subscription.Permanent(errMailRefused)
	}
	if err != nil {
		return fmt.Errorf("mail to user %s: %w", to, err)
	}
	return nil
}
