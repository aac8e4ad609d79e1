package writeapi

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

type refreshTokenRequest struct {
	Body struct {
		RefreshToken auth.Secret `json:"refresh_token,omitempty" maxLength:"1000" doc:"Absent where it is in the cookie"`
	}
}

func (s *Server) refreshToken(ctx context.Context, in *refreshTokenRequest) (*tokens, error) {
	if in.Body.RefreshToken != "" {
		return s.exchange(ctx, in.Body.RefreshToken)
	}
	token := auth.Secret(httpapi.Cookie(ctx, refreshCookie))
	if token == "" {
		return nil, auth.ErrRefreshTokenInvalid
	}
	if err := s.checkOrigin(httpapi.Origin(ctx)); err != nil {
		return nil, err
	}
	out, err := s.exchange(ctx, token)
	if _, f, ok := fault.Of(err); ok && f.Kind() == fault.Unauthenticated {
		clearCookie(ctx)
	}
	if err == nil {
		intoCookie(ctx, out)
	}
	return out, err
}

// exchange returns the tokens that a refresh token is good for.
func (s *Server) exchange(ctx context.Context, token auth.Secret) (*tokens, error) {
	session, counter, err := s.Refresh.Parse(token)
	if err != nil {
		return nil, err
	}
	if err := httpapi.Limit(ctx, "refresh.session", session.String()); err != nil {
		return nil, err
	}
	account, signIn, err := s.standing(ctx, session)
	if err != nil {
		return nil, err
	}
	lifetime := auth.RefreshLifetime
	if counter == 0 {
		lifetime = auth.RefreshIdle // the first token has been idle since the sign-in
	}
	if s.Clock().Sub(signIn.StartedAt) > lifetime {
		return nil, auth.ErrRefreshTokenExpired
	}
	rotation, err := s.Counters.Rotate(ctx, session, counter)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx, rotation.Outcome, session, account.ID); err != nil {
		return nil, err
	}
	return s.tokens(account, session, signIn, rotation.Token)
}

// standing returns a session that may go on and whose it is, as the log itself tells. Whatever ended it is
// ErrRefreshTokenInvalid: it does not matter to whoever holds the token, and must not be told.
//
// The session may end between this look and the answer. What is handed out then is worth nothing: the access token is of
// the session and of the epoch that were cut off, and the refresh token meets this look again.
func (s *Server) standing(ctx context.Context, session uuid.UUID) (a commands.Account, signIn commands.SignIn, err error) {
	if signIn, err = s.Accounts.ActiveSession(ctx, session); err == nil {
		a, err = s.Accounts.Account(ctx, signIn.User)
	}
	if errors.Is(err, commands.ErrNotFound) {
		return a, signIn, auth.ErrRefreshTokenInvalid
	}
	if err != nil {
		return a, signIn, err
	}
	shared, err := s.Accounts.SharedEpoch(ctx)
	if err == nil && !signIn.Stands(a, shared) {
		err = auth.ErrRefreshTokenInvalid
	}
	return a, signIn, err
}

// settle ends the session of a token that came twice: either the one who came first or the one who comes now stole it. An
// answer that is repeated late may be the beginning of that, so it leaves a trace.
func (s *Server) settle(ctx context.Context, outcome auth.Outcome, session, user uuid.UUID) error {
	var command commands.SessionCommand
	switch outcome {
	case auth.Reused:
		command = commands.EndSession{By: user, Reason: "refresh_token_reused"}
	case auth.Late:
		command = commands.NoteRepeat{By: user}
	default:
		return outcome.Err()
	}
	_, err := s.Commands.Handle(commandContext(ctx), commands.Session.On(session, command))
	if errors.Is(err, commands.ErrNotFound) {
		return auth.ErrRefreshTokenInvalid // it was ended just now
	}
	if err != nil {
		return err
	}
	return outcome.Err()
}
