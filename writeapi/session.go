package writeapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// sessions registers the endpoints of signing in and out.
func (s *Server) sessions(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "login", Method: http.MethodPost, Path: "/v1/auth/login", Tag: "Sign in",
		Summary: "Sign in", Access: httpapi.Anyone, Limit: "login", MaxBody: 16 << 10, NoReplay: true,
		Errors: []*fault.Fault{auth.ErrInvalidCredentials, errTooManyAttempts, ErrOrigin, ErrNoCookies, eventstore.ErrUnavailable, eventstore.ErrImporting, eventstore.ErrOutcomeUnknown},
	}, s.login)
	httpapi.Register(api, httpapi.Operation{
		ID: "refresh-token", Method: http.MethodPost, Path: "/v1/auth/token/refresh", Tag: "Sign in",
		Summary: "Exchange a refresh token for the next one",
		Description: "A token is good once. Presented again within 30 seconds it gives the same refresh token again; later, once in 24 hours. " +
			"Anything else ends the session. A browser that signed in with a cookie sends `{}` and its Origin.",
		Access: httpapi.Anyone, MaxBody: 16 << 10, NoReplay: true,
		Errors: []*fault.Fault{auth.ErrRefreshTokenInvalid, auth.ErrRefreshTokenExpired, auth.ErrRefreshTokenReused, ErrOrigin, ErrNoCookies,
			commands.ErrContended, eventstore.ErrOutcomeUnknown, eventstore.ErrUnavailable, eventstore.ErrImporting},
	}, s.refreshToken)
	httpapi.Register(api, httpapi.Operation{
		ID: "logout", Method: http.MethodPost, Path: "/v1/auth/logout", Tag: "Sign in",
		Summary: "Sign out: every token of the session is refused from now on",
		Access:  httpapi.SignedIn, Errors: writeFaults(),
	}, s.logout)
	httpapi.Register(api, httpapi.Operation{
		ID: "logout-cookie", Method: http.MethodDelete, Path: "/v1/auth/cookie", Tag: "Sign in",
		Summary: "Sign out a browser by its cookie, which is cleared",
		Access:  httpapi.Anyone, Errors: append(writeFaults(), ErrOrigin, ErrNoCookies),
	}, s.logoutCookie)
	httpapi.Register(api, httpapi.Operation{
		ID: "logout-all", Method: http.MethodPost, Path: "/v1/auth/logout-all", Tag: "Sign in",
		Summary: "Sign out everywhere: every token of all your sessions is refused from now on",
		Access:  httpapi.SignedIn, Errors: writeFaults(),
	}, s.logoutAll)
	httpapi.Register(api, httpapi.Operation{
		ID: "end-session", Method: http.MethodDelete, Path: "/v1/auth/sessions/{id}", Tag: "Sign in",
		Summary: "End one of your sessions", Access: httpapi.Owner, Errors: writeFaults(),
	}, s.revokeSession)
}

type loginRequest struct {
	Body struct {
		Email    string      `json:"email" maxLength:"1000"`
		Password auth.Secret `json:"password" maxLength:"1000"`
		Cookie   bool        `json:"cookie,omitempty" doc:"Keep the refresh token in a cookie that no script can read, instead of in the answer"`
	}
}

// tokens is what a sign-in or a refresh hands out.
type tokens struct {
	Body struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type" enum:"Bearer"`
		ExpiresIn    int    `json:"expires_in" doc:"Seconds until the access token expires"`
		RefreshToken string `json:"refresh_token,omitempty" doc:"Absent where it is in the cookie"`
	}
}

func (s *Server) login(ctx context.Context, in *loginRequest) (*tokens, error) {
	if in.Body.Cookie {
		if err := s.checkOrigin(httpapi.Origin(ctx)); err != nil {
			return nil, err
		}
	}
	account, err := s.authenticate(ctx, in.Body.Email, in.Body.Password)
	if err != nil {
		return nil, err
	}
	out, err := s.startSession(ctx, account)
	if err == nil && in.Body.Cookie {
		intoCookie(ctx, out)
	}
	return out, err
}

// startSession signs in a user whose credentials were checked against the account.
func (s *Server) startSession(ctx context.Context, a commands.Account) (*tokens, error) {
	shared, err := s.Accounts.SharedEpoch(ctx)
	if err != nil {
		return nil, err
	}
	id, now := newID(), s.Clock()
	start := commands.StartSession{User: a.ID, At: now, Epoch: a.Epoch, Shared: shared}
	ctx = commandContext(auth.WithPrincipal(ctx, auth.Principal{User: a.ID, Session: id, Roles: a.Roles}))
	if _, err := s.Commands.Handle(ctx, commands.Session.On(id, start)); err != nil {
		return nil, err
	}
	return s.tokens(a, id, commands.SignIn{User: a.ID, StartedAt: now, ConfirmedAt: now, Shared: shared}, s.Refresh.Mint(id, 0))
}

// tokens issues an access token for a session and hands out its refresh token.
func (s *Server) tokens(a commands.Account, session uuid.UUID, signIn commands.SignIn, refresh auth.Secret) (*tokens, error) {
	access, lives, err := s.Access.Issue(auth.Claims{
		User: a.ID, Session: session, Epoch: a.Epoch, Shared: signIn.Shared, Roles: a.Roles, AuthTime: signIn.ConfirmedAt, Methods: []string{"pwd"},
	})
	if err != nil {
		return nil, err
	}
	out := &tokens{}
	out.Body.AccessToken, out.Body.TokenType = access.Reveal(), "Bearer"
	out.Body.ExpiresIn, out.Body.RefreshToken = int(lives.Seconds()), refresh.Reveal()
	return out, nil
}

func (s *Server) logout(ctx context.Context, _ *struct{}) (*removed, error) {
	clearCookie(ctx)
	p, _ := auth.PrincipalFrom(ctx)
	return s.endSession(ctx, p.Session, "logout")
}

func (s *Server) logoutAll(ctx context.Context, _ *struct{}) (*removed, error) {
	clearCookie(ctx)
	user := auth.User(ctx)
	o, err := s.handle(ctx, commands.User.On(user, commands.SignOutUser{ID: user, By: commands.Actor{User: user}}), httpapi.IfMatch{})
	if err != nil {
		return nil, err
	}
	return &removed{Position: position(o), Replayed: replayed(o)}, nil
}

type revokeSessionRequest struct {
	ID uuid.UUID `path:"id"`
}

func (s *Server) revokeSession(ctx context.Context, in *revokeSessionRequest) (*removed, error) {
	return s.endSession(ctx, in.ID, "revoked")
}

// endSession ends a session of whoever is signed in.
func (s *Server) endSession(ctx context.Context, id uuid.UUID, reason string) (*removed, error) {
	o, err := s.handle(ctx, commands.Session.On(id, commands.EndSession{By: auth.User(ctx), Reason: reason}), httpapi.IfMatch{})
	if err != nil {
		return nil, err
	}
	return &removed{Position: position(o), Replayed: replayed(o)}, nil
}
