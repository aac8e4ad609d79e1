package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/mail"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Accounts is where a worker finds who a user is.
type Accounts interface {
	Account(ctx context.Context, id uuid.UUID) (commands.Account, error)
}

const (
	welcomeSubject = "Welcome to Atlas"

	// The name is left out: whoever signs up with another person's address chooses what it says.
	welcomeText = `Hello,

an Atlas account was made for this address. You can sign in with the password you chose.

If that was not you, you need do nothing.
`
)

// Welcome sends a mail to everyone who registers, one per message: its id is the message's. Who is gone or shut out by
// then gets none. A mail that can never be sent is parked as a dead letter. It takes no part in replays.
func Welcome(accounts Accounts, sender mail.Sender, log *slog.Logger) message.NoPublishHandlerFunc {
	return On(func(m *message.Message, registered engine.Recorded[events.UserRegistered]) error {
		account, err := accounts.Account(m.Context(), registered.Event.UserID)
		if errors.Is(err, commands.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("load user %s: %w", registered.Event.UserID, err)
		}
		if account.Email == "" || account.Disabled || !account.VerifyBy.IsZero() {
			return nil // those who have to verify their address first get another mail; see Verification
		}
		letter := mail.Message{ID: m.UUID, To: account.Email, Subject: welcomeSubject, Text: welcomeText}
		return send(m.Context(), sender, letter, account.ID, log)
	})
}
