package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Principal is who makes a request, as its verified credential says.
type Principal struct {
	User    uuid.UUID // the user it acts as
	Session uuid.UUID // the session the access token belongs to
	Roles   []string  // "user", "admin"

	Epoch    int64     // the user's credential epoch that the credential is of
	Shared   int64     // the epoch of everybody's that the access token is of
	AuthTime time.Time // when the user last proved who they are
}

// HasRole says whether the principal holds the role.
func (p Principal) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

type principalKey struct{}

// WithPrincipal returns a context that carries who is signed in.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns who is signed in; ok is false on an anonymous request.
func PrincipalFrom(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// User returns the signed-in user's id, or the nil UUID on an anonymous request. Operations that declare that a user
// must be signed in are never reached without one.
func User(ctx context.Context) uuid.UUID {
	p, _ := PrincipalFrom(ctx)
	return p.User
}
