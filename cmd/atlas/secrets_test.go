package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
)

func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, "ATLAS_DATA_DIR="+dir, "ATLAS_LOG_LEVEL=debug")
	user, tokens := walk(t, p)
	personal := []string{canaryPassword, canaryWrong, canaryEmail, canaryName, canaryNewName, canaryTitle, canaryBody, canaryTag, canaryNonsense}
	all := append(tokens, personal...)

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
	if rows := dump(t, db, "read")["read.documents_v1"]; !strings.Contains(strings.Join(rows, "\n"), canaryTitle) {
		t.Error("a dump shows no title where there is one to be seen")
	}
	killServer(t, dir) // errors are where what was read slips into logs
	user.do(t.Context(), "POST", "/v1/documents", content{canaryTitle, canaryBody})
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
	send(http.StatusOK, "GET", path+"/history", nil, "Atlas-Min-Position", archived.header.Get("Atlas-Position"))
	send(http.StatusBadRequest, "GET", "/v1/documents?cursor="+canaryNonsense, nil)
	send(http.StatusNotFound, "GET", "/"+canaryNonsense+"?email="+canaryEmail, nil)

	forged := c.at(p.url())
	forged.access = canaryNonsense
	forged.must(t, http.StatusUnauthorized, "GET", "/v1/me", nil)
	return c, tokens
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
