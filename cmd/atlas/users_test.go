package main_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

const adminPassword = "a password for the admin"

// atlasReading runs one command to its end, with a text on its standard input.
func atlasReading(t testing.TB, stdin string, settings []string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary.path(t), args...)
	cmd.Dir, cmd.Env = "/", append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.TempDir()}, settings...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// createAdmin makes an admin beside a running server, and returns them signed in.
func createAdmin(t testing.TB, p *process, settings []string, email string) *client {
	t.Helper()
	if o := atlasReading(t, adminPassword+"\n", settings, "users", "create-admin", "--email", email); o.code != 0 || !strings.Contains(o.stdout, email+" is an admin") {
		t.Fatalf("create-admin: got %+v", o)
	}
	c := newClient(p.url())
	c.signIn(t, email, adminPassword)
	return c
}

type person struct {
	ID     string   `json:"id"`
	Email  string   `json:"email"`
	Roles  []string `json:"roles"`
	Status string   `json:"status"`
}

// me returns who is signed in.
func (c *client) me(t testing.TB) (p person) {
	t.Helper()
	into(t, &p, c.must(t, http.StatusOK, "GET", "/v1/me", nil))
	return p
}

// withKey returns a client that presents an API key.
func (c *client) withKey(key string) *client {
	other := c.at(c.base())
	other.access, other.refresh = key, ""
	return other
}

// becomes waits until a call is answered with the status and the code.
func (c *client) becomes(t testing.TB, status int, code, method, path string) {
	t.Helper()
	var got answer
	var err error
	if !watchtest.Holds(patience, func() bool {
		got, err = c.do(t.Context(), method, path, nil)
		return err == nil && got.status == status && got.problem() == code
	}) {
		t.Fatalf("%s %s: got %s, %v; want %d %s", method, path, got, err, status, code)
	}
}

func TestAnAdminIsMadeBesideARunningServerAndAdministers(t *testing.T) {
	t.Parallel()
	settings, db := shared(t)
	p := serve(t, settings...)
	admin := createAdmin(t, p, settings, "root@example.com")
	ann := signUp(t, p.url(), "ann@example.com")
	annID, rootID := ann.me(t).ID, admin.me(t).ID
	annPath := "/v1/admin/users/" + annID

	ann.must(t, http.StatusForbidden, "GET", "/v1/admin/users", nil)
	awaitProjections(t, db)
	var list struct{ Data []person }
	into(t, &list, admin.must(t, http.StatusOK, "GET", "/v1/admin/users?role=admin", nil))
	if len(list.Data) != 1 || list.Data[0].ID != rootID || !slices.Equal(list.Data[0].Roles, []string{"user", "admin"}) {
		t.Errorf("admins: %+v", list.Data)
	}

	t.Run("who is disabled is refused, and let in again signs in anew", func(t *testing.T) {
		done := admin.must(t, http.StatusOK, "POST", annPath+"/disable", nil)
		ann.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/me")
		var got person
		into(t, &got, admin.must(t, http.StatusOK, "GET", annPath, nil, after(done.header.Get("Atlas-Position"), 30)...))
		if got.Status != "disabled" || got.Email != "ann@example.com" {
			t.Errorf("got %+v", got)
		}
		ann.must(t, http.StatusUnauthorized, "POST", "/v1/auth/login", map[string]string{"email": "ann@example.com", "password": password})
		admin.must(t, http.StatusOK, "POST", annPath+"/enable", nil)
		ann.must(t, http.StatusUnauthorized, "GET", "/v1/me", nil)
		ann.signIn(t, "ann@example.com", password)
	})
	t.Run("whose sessions were ended signs in anew", func(t *testing.T) {
		admin.must(t, http.StatusOK, "POST", annPath+"/sessions:revoke", nil)
		ann.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/me")
		ann.must(t, http.StatusUnauthorized, "POST", "/v1/auth/token/refresh", map[string]string{"refresh_token": ann.refresh})
		ann.signIn(t, "ann@example.com", password)
	})
	t.Run("another role refuses the tokens of the old one", func(t *testing.T) {
		admin.must(t, http.StatusOK, "PUT", annPath+"/role", map[string]string{"role": "admin"})
		ann.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/me")
		ann.take(t, ann.must(t, http.StatusOK, "POST", "/v1/auth/token/refresh", map[string]string{"refresh_token": ann.refresh}))
		ann.must(t, http.StatusOK, "GET", "/v1/admin/users", nil)
		admin.must(t, http.StatusOK, "PUT", annPath+"/role", map[string]string{"role": "user"})
		ann.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/admin/users")
	})
	t.Run("the last admin stays", func(t *testing.T) {
		for path, body := range map[string]any{"/disable": nil, "/role": map[string]string{"role": "user"}} {
			method := map[bool]string{true: "POST", false: "PUT"}[body == nil]
			if got := admin.must(t, http.StatusConflict, method, "/v1/admin/users/"+rootID+path, body); got.problem() != "last_admin" {
				t.Errorf("%s: got %s", path, got)
			}
		}
		atlas(t, settings, "users", "disable", "root@example.com").wants(t, 1, "the last admin")
		atlas(t, settings, "users", "set-role", rootID, "user").wants(t, 1, "the last admin")
		admin.must(t, http.StatusOK, "GET", "/v1/me", nil)
	})
	t.Run("the operator does the same by command", func(t *testing.T) {
		atlas(t, settings, "users", "set-role", "ann@example.com", "admin").wants(t, 0, "")
		atlas(t, settings, "users", "disable", rootID).wants(t, 0, "")
		admin.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/me")
		watchtest.Eventually(t, patience, "the list, which is a read table, shows that the admin is disabled", func() bool {
			o := atlas(t, settings, "users", "list")
			return o.code == 0 && strings.Contains(o.stdout, rootID+"  disabled  user,admin")
		})
		atlas(t, settings, "users", "enable", rootID).wants(t, 0, "")
	})
}

func TestCreateAdminSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	settings, _ := shared(t)
	create := []string{"users", "create-admin", "--email"}
	atlasReading(t, "", settings, append(create, "root@example.com")...).wants(t, 2, "standard input")
	atlasReading(t, "short\n", settings, append(create, "root@example.com")...).wants(t, 2, "12")
	atlasReading(t, adminPassword, settings, append(create, "root")...).wants(t, 2, "name@example.com")
	atlasReading(t, adminPassword, settings, append(create, "root@example.com", adminPassword)...).wants(t, 2, "create-admin")
	if o := atlasReading(t, adminPassword, settings, append(create, "root@example.com")...); o.code != 0 { // without a server
		t.Fatalf("got %+v", o)
	}
	atlasReading(t, adminPassword, settings, append(create, "ROOT@example.com")...).wants(t, 2, "set-role ROOT@example.com admin")
	atlas(t, settings, "users", "disable", "nobody@example.com").wants(t, 2, "no user nobody@example.com")
	atlas(t, settings, "users", "disable", "nobody").wants(t, 2, "neither an address nor")
	atlas(t, settings, "users", "set-role", "root@example.com", "king").wants(t, 2, "no role")
}

// madeKey is the one answer that shows a key.
type madeKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

func (c *client) makeKey(t testing.TB, path string, body any) (k madeKey) {
	t.Helper()
	into(t, &k, c.must(t, http.StatusCreated, "POST", path, body))
	return k
}

func TestAnAPIKeyDoesWhatItsScopesAndItsOwnerMay(t *testing.T) {
	t.Parallel()
	settings, _ := shared(t)
	p := serve(t, settings...)
	admin := createAdmin(t, p, settings, "root@example.com")
	ann := signUp(t, p.url(), "ann@example.com")
	annPath := "/v1/admin/users/" + ann.me(t).ID
	const keys = "/v1/me/api-keys"
	reading := map[string]any{"name": "Backup", "scopes": []string{"documents:read", "users:read"}}

	t.Run("what no user's key may have is refused", func(t *testing.T) {
		for _, scope := range []string{"events:read", "subscriptions:use", "unseal", "webhooks:write"} {
			for _, c := range []*client{ann, admin} {
				if got := c.must(t, http.StatusForbidden, "POST", keys, map[string]any{"name": "n", "scopes": []string{scope}}); got.problem() != "api_key_scope_reserved" {
					t.Errorf("%s: got %s", scope, got)
				}
			}
			admin.makeKey(t, "/v1/admin/api-keys", map[string]any{"name": "n", "scopes": []string{scope}})
		}
		ann.must(t, http.StatusForbidden, "POST", "/v1/admin/api-keys", reading)
		ann.must(t, http.StatusUnprocessableEntity, "POST", keys, map[string]any{"name": "n", "scopes": []string{"documents:raed"}})
		ann.must(t, http.StatusUnprocessableEntity, "POST", keys, map[string]any{"name": "n", "scopes": []string{"me:read"}, "expires_at": "2020-01-01T00:00:00Z"})
	})
	made := ann.makeKey(t, keys, reading)
	key := ann.withKey(made.Key)
	t.Run("it is shown once, and a retry makes another", func(t *testing.T) {
		again := ann.must(t, http.StatusCreated, "POST", keys, reading, "Idempotency-Key", "k")
		retry := ann.must(t, http.StatusCreated, "POST", keys, reading, "Idempotency-Key", "k")
		if bytes.Equal(again.body, retry.body) || retry.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("a retry shows the key again: %s", retry)
		}
		for _, path := range []string{keys, keys + "/" + made.ID} {
			got := ann.must(t, http.StatusOK, "GET", path, nil, after(retry.header.Get("Atlas-Position"), 30)...)
			if text := string(got.body); strings.Contains(text, "atlas_live_") || !strings.Contains(text, made.ID) {
				t.Errorf("%s: got %s", path, text)
			}
		}
	})
	t.Run("it does what its scopes name, as its owner, and nothing else", func(t *testing.T) {
		key.must(t, http.StatusOK, "GET", "/v1/documents", nil)
		for path, code := range map[string]string{"/v1/me": "scope_missing", keys: "permission_denied", "/v1/admin/users": "permission_denied"} {
			if got := key.must(t, http.StatusForbidden, "GET", path, nil); got.problem() != code {
				t.Errorf("%s: got %s, want %s", path, got, code)
			}
		}
		if got := key.must(t, http.StatusForbidden, "POST", keys, reading); got.problem() != "permission_denied" {
			t.Errorf("a key made a key: %s", got)
		}
		watchtest.Eventually(t, patience, "the use is shown", func() bool {
			got := ann.must(t, http.StatusOK, "GET", keys+"/"+made.ID, nil)
			return strings.Contains(string(got.body), `"last_used_at":"20`)
		})
	})
	t.Run("it rises and falls with its owner", func(t *testing.T) {
		admin.must(t, http.StatusOK, "PUT", annPath+"/role", map[string]string{"role": "admin"})
		key.becomes(t, http.StatusOK, "", "GET", "/v1/admin/users")
		admin.must(t, http.StatusOK, "PUT", annPath+"/role", map[string]string{"role": "user"})
		key.becomes(t, http.StatusForbidden, "permission_denied", "GET", "/v1/admin/users")
		key.must(t, http.StatusOK, "GET", "/v1/documents", nil)
		admin.must(t, http.StatusOK, "POST", annPath+"/disable", nil)
		key.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/documents")
		admin.must(t, http.StatusOK, "POST", annPath+"/enable", nil)
		key.becomes(t, http.StatusOK, "", "GET", "/v1/documents")
		ann.signIn(t, "ann@example.com", password)
	})
	t.Run("its old secret ends at once, or when it was said", func(t *testing.T) {
		var next, later madeKey
		into(t, &next, ann.must(t, http.StatusOK, "POST", keys+"/"+made.ID+"/rotate", nothing()))
		key.becomes(t, http.StatusUnauthorized, "api_key_invalid", "GET", "/v1/documents")
		ann.withKey(next.Key).must(t, http.StatusOK, "GET", "/v1/documents", nil)
		into(t, &later, ann.must(t, http.StatusOK, "POST", keys+"/"+made.ID+"/rotate", map[string]int{"overlap_seconds": 3600}))
		ann.withKey(next.Key).must(t, http.StatusOK, "GET", "/v1/documents", nil)
		key = ann.withKey(later.Key)
		key.must(t, http.StatusOK, "GET", "/v1/documents", nil)
	})
	t.Run("it is nobody else's, and revoked it stays so", func(t *testing.T) {
		for _, call := range []string{"GET ", "DELETE "} {
			admin.must(t, http.StatusNotFound, strings.TrimSpace(call), keys+"/"+made.ID, nil)
		}
		admin.must(t, http.StatusNotFound, "POST", "/v1/admin/api-keys/"+made.ID+"/rotate", nothing())
		gone := ann.must(t, http.StatusNoContent, "DELETE", keys+"/"+made.ID, nil)
		key.becomes(t, http.StatusUnauthorized, "token_revoked", "GET", "/v1/documents")
		ann.must(t, http.StatusNotFound, "DELETE", keys+"/"+made.ID, nil)
		ann.must(t, http.StatusNotFound, "GET", keys+"/"+made.ID, nil, after(gone.header.Get("Atlas-Position"), 30)...)
	})
	t.Run("a typo is told from a key that was refused", func(t *testing.T) {
		if got := ann.withKey(made.Key[:len(made.Key)-1]).must(t, http.StatusUnauthorized, "GET", "/v1/documents", nil); got.problem() != "api_key_invalid" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("an expired one is refused", func(t *testing.T) {
		at := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
		short := ann.makeKey(t, keys, map[string]any{"name": "n", "scopes": []string{"me:read"}, "expires_at": at})
		ann.withKey(short.Key).becomes(t, http.StatusUnauthorized, "api_key_invalid", "GET", "/v1/me")
	})
}

// nothing is a body that says nothing.
func nothing() any { return map[string]any{} }
