package httpapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

// declared adds an operation for each declaration worth telling apart.
func declared(api *httpapi.API) {
	for path, op := range map[string]httpapi.Operation{
		"/anyone":    {Access: httpapi.Anyone},
		"/user":      {Access: httpapi.SignedIn},
		"/user/read": {Access: httpapi.SignedIn, Scope: "notes:read"},
		"/own/read":  {Access: httpapi.Owner, Scope: "notes:read"},
		"/admin":     {Access: httpapi.Admin, Scope: "users:read"},
		"/danger":    {Access: httpapi.SignedIn, StepUp: true},
		"/service":   {Access: httpapi.Service, Scope: "events:read"},
	} {
		op.ID, op.Method, op.Path = path, "POST", path
		httpapi.Register(api, op, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	}
}

// TestWhoMayCall is the table of the declarations: 204 lets pass.
func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	s := serve(t, declared)
	paths := []string{"/anyone", "/user", "/user/read", "/own/read", "/admin", "/danger", "/service"}
	for token, want := range map[string][]string{
		"ann":               {"", "", "", "", "permission_denied", "", "permission_denied"},
		"ann long ago":      {"", "", "", "", "permission_denied", "step_up_required", "permission_denied"},
		"root":              {"", "", "", "", "", "", "permission_denied"},
		"ann's key":         {"", "permission_denied", "scope_missing", "scope_missing", "scope_missing", "permission_denied", "permission_denied"},
		"ann's notes:read":  {"", "permission_denied", "", "", "scope_missing", "permission_denied", "permission_denied"},
		"ann's users:read":  {"", "permission_denied", "scope_missing", "scope_missing", "permission_denied", "permission_denied", "permission_denied"},
		"root's users:read": {"", "permission_denied", "scope_missing", "scope_missing", "", "permission_denied", "permission_denied"},
		"a service":         {"", "permission_denied", "permission_denied", "permission_denied", "scope_missing", "permission_denied", "scope_missing"},
		"users:read":        {"", "permission_denied", "permission_denied", "permission_denied", "", "permission_denied", "scope_missing"},
		"events:read":       {"", "permission_denied", "permission_denied", "permission_denied", "scope_missing", "permission_denied", ""},
	} {
		for i, path := range paths {
			r := s.call(t, "POST "+path, "", "Authorization: Bearer "+token)
			switch want[i] {
			case "":
				r.want(t, 204)
			case "step_up_required":
				r.problem(t, 401, want[i])
			default:
				r.problem(t, 403, want[i])
			}
		}
	}
}

func TestARefusedKeyIsToldTheScope(t *testing.T) {
	t.Parallel()
	r := serve(t, declared).call(t, "POST /own/read", "", "Authorization: Bearer ann's key")
	if got, want := r.header.Get("WWW-Authenticate"), `Bearer realm="atlas", error="insufficient_scope", scope="notes:read"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheDocumentSaysWhoMayCall(t *testing.T) {
	t.Parallel()
	s := serve(t, declared)
	got := map[string]apitest.Access{}
	for _, op := range apitest.ReadSpec(t, s.url).Operations {
		got[op.Path] = op.Access
	}
	want := map[string]apitest.Access{
		"/anyone":    {Who: "anyone"},
		"/user":      {Who: "signed_in"},
		"/user/read": {Who: "signed_in", Scope: "notes:read"},
		"/own/read":  {Who: "owner", Scope: "notes:read"},
		"/admin":     {Who: "admin", Scope: "users:read"},
		"/danger":    {Who: "signed_in", StepUp: true},
		"/service":   {Who: "service", Scope: "events:read"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"events:read", "notes:read", "users:read"}, s.Scopes()); diff != "" {
		t.Errorf("scopes: %s", diff)
	}
}

func TestImpossibleAccessPanics(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]httpapi.Operation{
		"nothing said":              {},
		"nobody known":              {Access: "friends"},
		"anyone with a scope":       {Access: httpapi.Anyone, Scope: "notes:read"},
		"anyone who signed in":      {Access: httpapi.Anyone, StepUp: true},
		"a scope of no form":        {Access: httpapi.SignedIn, Scope: "Notes"},
		"a service without a scope": {Access: httpapi.Service},
		"a key that signed in":      {Access: httpapi.SignedIn, Scope: "notes:read", StepUp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			op.ID, op.Method, op.Path = "op", "POST", "/op"
			api := httpapi.New(httpapi.Config{Title: "t", Version: "1", Authenticator: tokens{}, StepUp: recently})
			httpapi.Register(api, op, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		})
	}
	defer func() {
		if recover() == nil {
			t.Error("a recent sign-in that nobody confirms: did not panic")
		}
	}()
	api := httpapi.New(httpapi.Config{Title: "t", Version: "1", Authenticator: tokens{}})
	httpapi.Register(api, httpapi.Operation{ID: "op", Method: "POST", Path: "/op", Access: httpapi.SignedIn, StepUp: true},
		func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
}

// recently knows who signed in lately.
func recently(_ context.Context, p auth.Principal) error {
	if time.Since(p.AuthTime) > time.Hour {
		return auth.ErrStepUpRequired
	}
	return nil
}
