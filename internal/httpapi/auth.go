package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/atlas-platform/atlas/internal/auth"
)

// Authenticator turns a bearer token, which may be an API key, into who sent it. It fails with a fault of kind Unauthenticated (or Unavailable);
// any other error is an internal one.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Principal, error)
}

// authenticate lets the request pass if who sent it may call, and says in its context who that is.
func (a *API) authenticate(op Operation, r *http.Request) (*http.Request, error) {
	if op.Access == Anyone {
		return r, nil
	}
	token, err := bearer(r.Header.Values("Authorization"))
	if err != nil {
		return nil, err
	}
	c := callFrom(r.Context())
	c.tokenSent = true
	p, err := a.authenticator.Authenticate(r.Context(), token)
	if err != nil {
		return nil, err
	}
	c.user, c.key = p.User, p.Key
	if err := op.allows(p); err != nil {
		c.scope = op.Scope
		return nil, err
	}
	if op.StepUp {
		if err := a.config.StepUp(r.Context(), p); err != nil {
			return nil, err
		}
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
