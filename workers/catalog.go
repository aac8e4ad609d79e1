package workers

import (
	"log/slog"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/mail"
)

// Tools is what the workers of Atlas work with.
type Tools struct {
	Commands *commands.Handler
	Mail     mail.Sender
	Verify   Verifications
	Address  func(email string) uuid.UUID // the id of an address's stream
	Log      *slog.Logger
}

// Catalog adds every worker of Atlas to the router. A new one is added here.
func Catalog(r *Router, with Tools) {
	r.Handle("welcome", eventstore.Filter{Types: []string{"user.registered"}}, Welcome(with.Commands, with.Mail, with.Log))
	r.Handle("verification", eventstore.Filter{Types: []string{"user.verification_requested"}},
		Verification(with.Commands, with.Mail, with.Verify, with.Address, with.Log))
}
