package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// The roles of users.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// Principal is who makes a request, as its verified credential says: a user by an access token, a user by one of their
// API keys, or a service by a key that acts for no user.
type Principal struct {
	User    uuid.UUID // the user it acts as; nil for a service key
	Session uuid.UUID // the session the access token belongs to; nil for an API key
	Key     uuid.UUID // the API key; nil for an access token
	Roles   []string  // of the user: "user", "admin"
	Scopes  []string  // what an API key may do; an access token may do whatever its user may

	Epoch    int64     // the user's credential epoch that the credential is of
	Shared   int64     // the epoch of everybody's that the access token is of
	AuthTime time.Time // when the user last proved who they are; zero for an API key
}

// ID returns who did it, for the events: the user, or the service key itself where there is none.
func (p Principal) ID() uuid.UUID {
	if p.User == uuid.Nil {
		return p.Key
	}
	return p.User
}

// HasRole says whether the principal's user holds the role.
func (p Principal) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

// Admin says whether it may act as an admin: an admin, or a service key, which only admins make. What an API key may do
// is bounded by its scopes besides.
func (p Principal) Admin() bool { return p.Service() || p.HasRole(RoleAdmin) }

// HasScope says whether it may do what asks for the scope. Only API keys are bounded by scopes.
func (p Principal) HasScope(scope string) bool {
	return p.Key == uuid.Nil || slices.Contains(p.Scopes, scope)
}

// Service says whether it is a key that acts for no user.
func (p Principal) Service() bool { return p.Key != uuid.Nil && p.User == uuid.Nil }

// clone lets the caller change what it got without changing what others get.
func (p Principal) clone() Principal {
	p.Roles, p.Scopes = slices.Clone(p.Roles), slices.Clone(p.Scopes)
	return p
}

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

// User returns the signed-in user's id, or the nil UUID on an anonymous request and for a service key. Operations that
// declare that a user must be signed in are never reached without one.
func User(ctx context.Context) uuid.UUID {
	p, _ := PrincipalFrom(ctx)
	return p.User
}

// Service returns the id of the service key that makes the request, which is whose the things of programs are. It is the nil
// UUID for users: those who may see such things see everybody's.
func Service(ctx context.Context) uuid.UUID {
	p, _ := PrincipalFrom(ctx)
	if p.Service() {
		return p.Key
	}
	return uuid.Nil
}
