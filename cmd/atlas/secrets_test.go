package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

// canaries are what a user tells Atlas, each of a shape that nothing else has.
const (
	canaryPassword = "canary-password-5b1e"
	canaryWrong    = "canary-wrong-password-5b1e"
	canaryEmail    = "canary-email-5b1e@example.com"
	canaryName     = "Canary-Name-5b1e"
	canaryNewName  = "Canary-New-Name-5b1e"
	canaryTitle    = "canary-title-5b1e"
	canaryBody     = "canary-body-5b1e"
	canaryTag      = "canary-tag-5b1e"
	canaryNonsense = "canary-nonsense-5b1e" // where nothing of the kind belongs
	canaryAdmin    = "canary-admin-5b1e@example.com"
	canarySecret   = "canary-admin-password-5b1e"
	canaryKeyName  = "canary-key-name-5b1e"
	canarySwept    = "canary-swept-5b1e" // in every field of every operation
)

func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, "ATLAS_DATA_DIR="+dir, "ATLAS_LOG_LEVEL=debug")
	user, tokens := walk(t, p)
	admin, spec := admitCanary(t, p, dir), apitest.ReadSpec(t, p.url())
	secrets := append(tokens, walkKeys(t, user)...)
	again, keys := sweep(t, p, spec, admin), sweep(t, p, spec, user.withKey(secrets[len(secrets)-1]))
	secrets = slices.Concat(secrets, again, keys, []string{canaryPassword, canaryWrong, canarySecret})
	personal := []string{canaryAdmin, canaryKeyName, canarySwept, canaryPassword, canaryWrong, canaryEmail, canaryName, canaryNewName, canaryTitle, canaryBody, canaryTag, canaryNonsense}
	all := append(secrets, personal...)

	metrics, err := user.at(p.opsURL()).do(t.Context(), "GET", "/metrics", nil)
	if err != nil || metrics.status != http.StatusOK {
		t.Fatalf("metrics: %v %v", metrics, err)
	}
	holdsNone(t, "the metrics", string(metrics.body), all)

	db := database(t, dir)
	awaitProjections(t, db)
	for _, schema := range []string{"atlas", "outbox"} {
		for table, rows := range dump(t, db, schema) {
			holdsNone(t, table, strings.Join(rows, "\n"), all)
		}
	}
	readable := dump(t, db, "read")
	for table, rows := range readable { // personal data is there to be read; secrets are nowhere
		holdsNone(t, table, strings.Join(rows, "\n"), secrets)
	}
	if rows := readable["read.documents_v1"]; !strings.Contains(strings.Join(rows, "\n"), canaryTitle) {
		t.Error("a dump shows no title where there is one to be seen")
	}
	killServer(t, dir) // errors are where what was read slips into logs
	user.do(t.Context(), "POST", "/v1/documents", content{canaryTitle, canaryBody})
	sweep(t, p, spec, nil)
	p.awaitLog("postgres restarted")
	db.Close()
	p.terminate()
	p.wait()
	holdsNone(t, "stdout", p.stdout.String(), all)
	holdsNone(t, "stderr", p.stderr.String(), all)
	serverLog, err := os.ReadFile(filepath.Join(dir, "postgres", "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	holdsNone(t, "the private server's log", string(serverLog), all)
}

// walk uses the endpoints rightly and wrongly. It returns a user who is still signed in, and the tokens that were handed
// out.
func walk(t *testing.T, p *process) (c *client, tokens []string) {
	t.Helper()
	c = newClient(p.url())
	send := func(status int, method, path string, body any, headers ...string) answer {
		t.Helper()
		return c.must(t, status, method, path, body, headers...)
	}
	send(http.StatusAccepted, "POST", "/v1/auth/register", map[string]string{"email": canaryEmail, "password": canaryPassword, "name": canaryName})
	send(http.StatusAccepted, "POST", "/v1/auth/register", map[string]string{"email": canaryEmail, "password": canaryPassword, "name": canaryName})
	send(http.StatusUnauthorized, "POST", "/v1/auth/login", map[string]string{"email": canaryEmail, "password": canaryWrong})
	send(http.StatusUnprocessableEntity, "POST", "/v1/auth/login", map[string]any{"email": canaryEmail, "password": []string{canaryPassword}})
	send(http.StatusBadRequest, "POST", "/v1/auth/login", `{"email":"`+canaryEmail+`","password":"`+canaryPassword)
	c.signIn(t, canaryEmail, canaryPassword)
	first := []string{c.access, c.refresh}
	c.take(t, send(http.StatusOK, "POST", "/v1/auth/token/refresh", map[string]string{"refresh_token": c.refresh}))
	tokens = append(first, c.access, c.refresh)
	send(http.StatusUnauthorized, "POST", "/v1/auth/token/refresh", map[string]string{"refresh_token": canaryNonsense})
	send(http.StatusOK, "GET", "/v1/me", nil)
	send(http.StatusOK, "PATCH", "/v1/me", map[string]string{"name": canaryNewName})

	text := map[string]any{"title": canaryTitle, "body": canaryBody, "tags": []string{canaryTag}}
	created := send(http.StatusCreated, "POST", "/v1/documents", text, "Idempotency-Key", "k-1")
	send(http.StatusCreated, "POST", "/v1/documents", text, "Idempotency-Key", "k-1")
	send(http.StatusUnprocessableEntity, "POST", "/v1/documents", map[string]any{"title": canaryTitle, "body": canaryBody, canaryNonsense: 1})
	send(http.StatusBadRequest, "POST", "/v1/documents", `{"title":"`+canaryTitle+`","title":"`+canaryNonsense+`"`)
	path := created.header.Get("Location")
	send(http.StatusOK, "PUT", path, text, "If-Match", `"1"`)
	send(http.StatusPreconditionFailed, "PUT", path, text, "If-Match", `"1"`)
	archived := send(http.StatusOK, "POST", path+"/archive", nil)
	send(http.StatusConflict, "PUT", path, text)
	send(http.StatusOK, "GET", path+"/history", nil, after(archived.header.Get("Atlas-Position"), 30)...)
	send(http.StatusBadRequest, "GET", "/v1/documents?cursor="+canaryNonsense, nil)
	send(http.StatusNotFound, "GET", "/"+canaryNonsense+"?email="+canaryEmail, nil)

	forged := c.at(p.url())
	forged.access = canaryNonsense
	forged.must(t, http.StatusUnauthorized, "GET", "/v1/me", nil)
	return c, tokens
}

// admitCanary makes an admin whose address and password are marked.
func admitCanary(t *testing.T, p *process, dir string) *client {
	t.Helper()
	settings := []string{"ATLAS_DATA_DIR=" + dir, "ATLAS_LOG_LEVEL=debug"}
	o := atlasReading(t, canarySecret+"\n", settings, "users", "create-admin", "--email", canaryAdmin, "--name", canaryName)
	if o.code != 0 {
		t.Fatalf("create-admin: %+v", o)
	}
	holdsNone(t, "what create-admin says", o.stdout+o.stderr, []string{canarySecret})
	c := newClient(p.url())
	c.signIn(t, canaryAdmin, canarySecret)
	return c
}

// walkKeys makes, uses, mistypes and rotates API keys. It returns them, one that is good last.
func walkKeys(t *testing.T, user *client) (keys []string) {
	t.Helper()
	const path = "/v1/me/api-keys"
	scopes := []string{"documents:read", "documents:write", "me:read", "me:write"}
	made := user.makeKey(t, path, map[string]any{"name": canaryKeyName, "scopes": scopes})
	user.withKey(made.Key).must(t, http.StatusOK, "GET", "/v1/me", nil)
	user.withKey(made.Key[:len(made.Key)-1]+"-").must(t, http.StatusUnauthorized, "GET", "/v1/me", nil)
	user.must(t, http.StatusUnprocessableEntity, "POST", path, map[string]any{"name": canaryKeyName, "scopes": []string{canaryNonsense}})
	var next madeKey
	into(t, &next, user.must(t, http.StatusOK, "POST", path+"/"+made.ID+"/rotate", map[string]int{"overlap_seconds": 60}))
	return []string{made.Key, made.Key[:len(made.Key)-1], next.Key}
}

// sweep calls every operation of the document with a mark in every field, parameter and header that takes a text: as the
// client, or as nobody where that is nil. It goes on whatever the answers are, and returns the tokens that it was handed.
func sweep(t *testing.T, p *process, spec *apitest.Spec, c *client) (tokens []string) {
	t.Helper()
	if c == nil {
		c = newClient(p.url())
	}
	for _, op := range spec.Operations {
		path := op.Path
		for _, param := range op.Parameters {
			if value := canarySwept; param.In == "path" {
				if param.Schema["format"] == "uuid" {
					value = uuid.NewString()
				}
				path = strings.ReplaceAll(path, "{"+param.Name+"}", value)
			}
		}
		for _, query := range []string{"", "?email=" + canarySwept + "&cursor=" + canarySwept} {
			var body any
			if op.Body != nil {
				body = markedBody(spec, op.Body)
			}
			got, err := c.do(t.Context(), op.Method, path+query, body, "Idempotency-Key", uuid.NewString(), "User-Agent", canarySwept)
			if err == nil && strings.Contains(got.problem(), "revoked") && c.refresh != "" { // the sweep signed it out
				c.signIn(t, canaryAdmin, canarySecret)
				tokens = append(tokens, c.access, c.refresh)
			}
		}
	}
	return tokens
}

// markedBody has the mark wherever the schema takes a text.
func markedBody(spec *apitest.Spec, schema apitest.Schema) map[string]any {
	body := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for name := range properties {
		switch s := spec.Property(schema, name); {
		case s["enum"] != nil:
			body[name] = s["enum"].([]any)[0]
		case s["format"] == "date-time":
			body[name] = "2099-01-01T00:00:00Z"
		case strings.Contains(fmt.Sprint(s["type"]), "array"):
			body[name] = []string{canarySwept}
		case s["type"] == "integer":
			body[name] = 1
		case s["type"] == "boolean":
			body[name] = true
		default:
			body[name] = canarySwept
		}
	}
	return body
}

// holdsNone holds that a text has none of the secrets in it, nor their bytes in hexadecimal, as a dump shows bytea.
func holdsNone(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	text = strings.ToLower(text)
	for _, secret := range secrets {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret)} {
			if at := strings.Index(text, strings.ToLower(form)); at >= 0 {
				t.Errorf("%s: %q is in …%s…", where, secret, text[max(0, at-200):min(len(text), at+200)])
			}
		}
	}
}
