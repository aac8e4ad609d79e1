package writeapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// passwords registers the endpoints at which somebody who is signed in gives their password again.
func (s *Server) passwords(api *httpapi.API) {
	faults := []*fault.Fault{auth.ErrInvalidCredentials, errTooManyAttempts, commands.ErrNotFound, commands.ErrUserDisabled, commands.ErrContended,
		eventstore.ErrUnavailable, eventstore.ErrOutcomeUnknown}
	httpapi.Register(api, httpapi.Operation{
		ID: "change-password", Method: http.MethodPost, Path: "/v1/auth/password/change", Tag: "Sign in",
		Summary: "Change your password: every other session ends",
		Description: "Tokens that are out are refused from now on. This session goes on with the access token in the answer, and with the " +
			"refresh token it has.",
		Access: httpapi.SignedIn, Limit: "password", MaxBody: 16 << 10, NoReplay: true,
		Errors: append(faults, auth.ErrWeakPassword, commands.ErrPasswordChanged),
	}, s.changePassword)
	httpapi.Register(api, httpapi.Operation{
		ID: "reauthenticate", Method: http.MethodPost, Path: "/v1/auth/reauthenticate", Tag: "Sign in",
		Summary:     "Prove again who you are, for what asks for a recent sign-in",
		Description: "The access token in the answer says that you just did.",
		Access:      httpapi.SignedIn, Limit: "password", MaxBody: 16 << 10, NoReplay: true, Errors: faults,
	}, s.reauthenticate)
}

// accessToken is what goes on with a session whose refresh token stays as it is.
type accessToken struct {
	Body struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type" enum:"Bearer"`
		ExpiresIn   int    `json:"expires_in" doc:"Seconds until the access token expires"`
	}
}

type changePasswordRequest struct {
	Body struct {
		Current auth.Secret `json:"current_password" maxLength:"1000"`
		New     auth.Secret `json:"new_password" doc:"12 to 128 characters"`
	}
}

func (s *Server) changePassword(ctx context.Context, in *changePasswordRequest) (*accessToken, error) {
	account, signIn, err := s.confirm(ctx, in.Body.Current)
	if err != nil {
		return nil, err
	}
	if err := checkNewPassword(in.Body.New, account); err != nil {
		return nil, err
	}
	hash, err := s.Passwords.Hash(ctx, in.Body.New)
	if err != nil {
		return nil, err
	}
	change := commands.ChangePassword{ID: account.ID, By: account.ID, Old: account.PasswordHash, New: hash, Epoch: account.Epoch + 1}
	account.Epoch++
	return s.confirmed(ctx, account, signIn, commands.User.On(account.ID, change))
}

// checkNewPassword points at the field that holds the new password.
func checkNewPassword(password auth.Secret, a commands.Account) error {
	err := auth.CheckPassword(password, a.Email, a.Name)
	if o, _, is := fault.Of(err); is {
		fields := o.Fields()
		for i := range fields {
			fields[i].Pointer = "/new_password"
		}
		return auth.ErrWeakPassword.At(fields...)
	}
	return err
}

type reauthenticateRequest struct {
	Body struct {
		Password auth.Secret `json:"password" maxLength:"1000"`
	}
}

func (s *Server) reauthenticate(ctx context.Context, in *reauthenticateRequest) (*accessToken, error) {
	account, signIn, err := s.confirm(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return s.confirmed(ctx, account, signIn)
}

// confirm holds a password against that of the account that is signed in, whose session must not have ended. Whoever
// tries passwords with a stolen token has to wait as at the sign-in; the owner signs in meanwhile.
func (s *Server) confirm(ctx context.Context, password auth.Secret) (a commands.Account, signIn commands.SignIn, err error) {
	p, _ := auth.PrincipalFrom(ctx)
	if a, signIn, err = s.standing(ctx, p.Session); errors.Is(err, auth.ErrRefreshTokenInvalid) {
		return a, signIn, auth.ErrTokenRevoked
	}
	if err != nil {
		return a, signIn, err
	}
	tries := "session/" + p.Session.String()
	if wait := s.Delay.Begin(ctx, tries); wait > 0 {
		return a, signIn, errTooManyAttempts.RetryAfter(wait)
	}
	ok, _, err := s.check(ctx, a, password)
	if err != nil {
		return a, signIn, err
	}
	if !ok {
		s.Delay.Failed(ctx, tries)
		if err := s.Failures.Record(ctx, auth.EmailKey(s.EmailKey, a.Email)); err != nil {
			return a, signIn, err
		}
		return a, signIn, auth.ErrInvalidCredentials
	}
	s.Delay.Succeeded(ctx, tries)
	return a, signIn, nil
}

// confirmed writes that the user has just proved who they are, together with what they did so for, and hands out an access
// token that says so.
func (s *Server) confirmed(ctx context.Context, a commands.Account, signIn commands.SignIn, more ...commands.Step) (*accessToken, error) {
	p, _ := auth.PrincipalFrom(ctx)
	signIn.ConfirmedAt = s.Clock()
	confirm := commands.Session.On(p.Session, commands.ConfirmSession{By: a.ID, At: signIn.ConfirmedAt, Epoch: a.Epoch})
	if _, err := s.Commands.Handle(commandContext(ctx), append(more, confirm)...); err != nil {
		return nil, err
	}
	all, err := s.tokens(a, p.Session, signIn, "")
	if err != nil {
		return nil, err
	}
	out := &accessToken{}
	out.Body.AccessToken, out.Body.TokenType, out.Body.ExpiresIn = all.Body.AccessToken, all.Body.TokenType, all.Body.ExpiresIn
	return out, nil
}
