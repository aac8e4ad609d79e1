package writeapi_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/apptest"
)

// TestTokenAttacksAreRefused shows the API tokens that an attacker makes of a good one. Those that need a key of ours are
// in package auth.
func TestTokenAttacksAreRefused(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	good := a.User(t, ann).Token
	parts := strings.Split(good, ".")
	header := func(changes map[string]any) string {
		text, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		h := map[string]any{}
		if err := json.Unmarshal(text, &h); err != nil {
			t.Fatal(err)
		}
		for name, value := range changes {
			h[name] = value
		}
		if text, err = json.Marshal(h); err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text) + "." + parts[1] + "." + parts[2]
	}
	for name, c := range map[string]struct{ token, code string }{
		"alg none, unsigned":  {strings.TrimSuffix(header(map[string]any{"alg": "none"}), parts[2]), "token_invalid"},
		"alg none, signed":    {header(map[string]any{"alg": "none"}), "token_invalid"},
		"another alg":         {header(map[string]any{"alg": "HS256"}), "token_invalid"},
		"another typ":         {header(map[string]any{"typ": "JWT"}), "token_invalid"},
		"an unknown kid":      {header(map[string]any{"kid": "unknown"}), "token_invalid"},
		"a jku":               {header(map[string]any{"jku": "https://evil.example.com/jwks.json"}), "token_invalid"},
		"an x5u":              {header(map[string]any{"x5u": "https://evil.example.com/cert.pem"}), "token_invalid"},
		"a jwk":               {header(map[string]any{"jwk": map[string]string{"kty": "OKP"}}), "token_invalid"},
		"expired":             {a.TokenOf(t, ann, time.Now().Add(-time.Hour)), "token_expired"},
		"from the future":     {a.TokenOf(t, ann, time.Now().Add(time.Hour)), "token_invalid"},
		"truncated":           {good[:len(good)-1], "token_invalid"},
		"without a signature": {parts[0] + "." + parts[1], "token_invalid"},
		"a refresh token":     {a.User(t, ann).Refresh, "token_invalid"},
		"10 kB":               {good + strings.Repeat("A", 10<<10), "token_invalid"},
		"1 MB":                {strings.Repeat("A", 1<<20), "token_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: c.token, Status: 401, Code: c.code})
		})
	}
}
