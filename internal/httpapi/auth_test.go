package httpapi_test

import (
	"context"
	"testing"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// guarded adds one operation that anyone may call, one for users and one for admins.
func guarded(api *httpapi.API) {
	for path, access := range map[string]httpapi.Access{"/anyone": httpapi.Anyone, "/user": httpapi.SignedIn, "/admin": httpapi.Admin} {
		httpapi.Register(api, httpapi.Operation{ID: path[1:], Method: "POST", Path: path, Access: access},
			func(ctx context.Context, _ *struct{}) (*struct{ Body bool }, error) {
				_, known := auth.PrincipalFrom(ctx)
				return &struct{ Body bool }{known}, nil
			})
	}
}

func TestMissingTokenIsUnauthenticated(t *testing.T) {
	t.Parallel()
	s := serve(t, guarded)
	for _, header := range []string{"X: y", "Authorization: Basic YTpi", "Authorization: Bearer", "Authorization: Bearer  ", "Authorization: ann"} {
		r := s.call(t, "POST /user", "", header)
		r.problem(t, 401, "unauthenticated")
		if got := r.header.Get("WWW-Authenticate"); got != `Bearer realm="atlas"` {
			t.Errorf("%s: got %s", header, got)
		}
	}
}

func TestTwoTokensAreNone(t *testing.T) {
	t.Parallel()
	serve(t, guarded).call(t, "POST /user", "", asAnn, asRoot).problem(t, 401, "unauthenticated")
}

func TestRefusedTokenIsNamedInTheChallenge(t *testing.T) {
	t.Parallel()
	r := serve(t, guarded).call(t, "POST /user", "", "Authorization: Bearer forged")
	r.problem(t, 401, "token_invalid")
	if got := r.header.Get("WWW-Authenticate"); got != `Bearer realm="atlas", error="invalid_token"` {
		t.Errorf("got %s", got)
	}
}

func TestSchemeIsReadInAnyCase(t *testing.T) {
	t.Parallel()
	serve(t, guarded).call(t, "POST /user", "", "Authorization: bearer ann").want(t, 200)
}

func TestRoleIsAsked(t *testing.T) {
	t.Parallel()
	s := serve(t, guarded)
	s.call(t, "POST /admin", "", asAnn).problem(t, 403, "permission_denied")
	s.call(t, "POST /admin", "", asRoot).want(t, 200)
}

func TestTokenIsIgnoredWhereAnyoneMayCall(t *testing.T) {
	t.Parallel()
	s := serve(t, guarded)
	for _, token := range []string{"forged", "ann"} {
		if r := s.call(t, "POST /anyone", "", "Authorization: Bearer "+token).want(t, 200); r.body != "false\n" {
			t.Errorf("%s: the handler saw a principal", token)
		}
	}
}

func TestStrangerLearnsNothingOfTheBody(t *testing.T) {
	t.Parallel()
	serve(t, echo).call(t, "POST /v1/documents", `{"broken`).problem(t, 401, "unauthenticated")
}

func TestStepUpIsAskedForAsTheStandardSays(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		httpapi.Register(api, httpapi.Operation{
			ID: "dangerous", Method: "POST", Path: "/dangerous", Access: httpapi.SignedIn, StepUp: true,
		}, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	})
	s.call(t, "POST /dangerous", "", asAnn).want(t, 204)
	r := s.call(t, "POST /dangerous", "", "Authorization: Bearer ann long ago")
	r.problem(t, 401, "step_up_required")
	if got, want := r.header.Get("WWW-Authenticate"), `Bearer realm="atlas", error="insufficient_user_authentication", max_age="600"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
