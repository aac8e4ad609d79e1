package writeapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// Verifications reads the tokens that are mailed to show that an address's mail is read.
type Verifications interface {
	User(token auth.Secret) uuid.UUID
	Check(token auth.Secret, user uuid.UUID, until time.Time) bool
}

// verifications registers the endpoint that completes a sign-up.
func (s *Server) verifications(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "verify-email", Method: http.MethodPost, Path: "/v1/auth/email/verify", Tag: "Sign in",
		Summary: "Complete a sign-up: show that the address is yours, and that you chose the password",
		Description: "Takes the token from the mail and the password given when signing up. Who signed up with an address that is not " +
			"theirs does not get the mail, and whose the address is does not know that password: neither gets in.",
		Access: httpapi.Anyone, Limit: "verify", MaxBody: 16 << 10, NoReplay: true,
		Errors: []*fault.Fault{auth.ErrInvalidCredentials, commands.ErrLinkUsedOrExpired, commands.ErrContended,
			eventstore.ErrUnavailable, eventstore.ErrOutcomeUnknown},
	}, s.verifyEmail)
}

type verifyEmailRequest struct {
	Body struct {
		Token    auth.Secret `json:"token" maxLength:"1000"`
		Password auth.Secret `json:"password" maxLength:"1000"`
	}
}

func (s *Server) verifyEmail(ctx context.Context, in *verifyEmailRequest) (*struct{}, error) {
	account, err := s.Accounts.Account(ctx, s.Verify.User(in.Body.Token))
	if errors.Is(err, commands.ErrNotFound) {
		return nil, commands.ErrLinkUsedOrExpired
	}
	if err != nil {
		return nil, err
	}
	now := s.Clock()
	if account.VerifyBy.Before(now) || !s.Verify.Check(in.Body.Token, account.ID, account.VerifyBy) {
		return nil, commands.ErrLinkUsedOrExpired
	}
	ok, _, err := s.check(ctx, account, in.Body.Password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, auth.ErrInvalidCredentials
	}
	ctx = commandContext(auth.WithPrincipal(ctx, auth.Principal{User: account.ID}))
	_, err = s.Commands.Handle(ctx,
		commands.User.On(account.ID, commands.VerifyUser{ID: account.ID, At: now}),
		commands.Email.On(auth.EmailKey(s.EmailKey, account.Email), commands.ReserveEmail{User: account.ID}))
	if errors.Is(err, commands.ErrEmailTaken) {
		return nil, commands.ErrLinkUsedOrExpired // somebody else has shown that it is theirs
	}
	return nil, err
}
