package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/atlas-platform/atlas/internal/auth"
)

// Access says who may call an operation. The zero value says nothing and is refused at registration.
type Access string

// Who may call.
const (
	Anyone   Access = "anyone"    // nobody needs to be signed in; a token is not even looked at
	SignedIn Access = "signed_in" // whoever has a valid credential
)

// rolePrefix marks an Access that asks for a role.
const rolePrefix = "role:"

// Role allows those who are signed in and hold the role.
func Role(name string) Access { return Access(rolePrefix + name) }

// Authenticator turns a bearer token into who sent it. It fails with a fault of kind Unauthenticated (or Unavailable);
// any other error is an internal one.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Principal, error)
}

// authenticate lets the request pass if who sent it may call, and says in its context who that is.
func (a Access) authenticate(who Authenticator, r *http.Request) (*http.Request, error) {
	if a == Anyone {
		return r, nil
	}
	token, err := bearer(r.Header.Values("Authorization"))
	if err != nil {
		return nil, err
	}
	c := callFrom(r.Context())
	c.tokenSent = true
	p, err := who.Authenticate(r.Context(), token)
	if err != nil {
		return nil, err
	}
	c.user = p.User
	if role, asked := strings.CutPrefix(string(a), rolePrefix); asked && !p.HasRole(role) {
		return nil, ErrPermissionDenied
	}
	return r.WithContext(auth.WithPrincipal(r.Context(), p)), nil
}

// bearer returns the one bearer token among the Authorization headers. Two headers are as good as none: which of them
// counts would be a matter of taste, and a proxy's may differ from ours.
func bearer(headers []string) (string, error) {
	if len(headers) != 1 {
		return "", ErrUnauthenticated
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", ErrUnauthenticated
	}
	return token, nil
}
