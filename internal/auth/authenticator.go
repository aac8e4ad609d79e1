package auth

import "context"

// Authenticator turns an access token into who holds it, without asking a database.
type Authenticator struct {
	tokens      *Tokens
	revocations *Revocations
}

// NewAuthenticator returns an authenticator that accepts what tokens verifies and revocations does not refuse.
func NewAuthenticator(tokens *Tokens, revocations *Revocations) *Authenticator {
	return &Authenticator{tokens: tokens, revocations: revocations}
}

// Authenticate returns the principal of a valid access token. Otherwise it is ErrTokenInvalid, ErrTokenExpired or
// ErrTokenRevoked, or ErrRevocationsUnknown while this node cannot tell: it never accepts in doubt.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (Principal, error) {
	claims, err := a.tokens.Verify(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	if err := a.revocations.Check(claims); err != nil {
		return Principal{}, err
	}
	return Principal{User: claims.User, Session: claims.Session, Roles: claims.Roles}, nil
}
