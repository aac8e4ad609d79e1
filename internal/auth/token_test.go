package auth

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var (
	annID     = uuid.MustParse("0190a3c0-0000-7000-8000-000000000001")
	sessionID = uuid.MustParse("0190a3c0-0000-7000-8000-000000000002")
	noon      = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// clock is a time that a test sets.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func newTokens(t testing.TB, keys *Keys) (*Tokens, *clock) {
	t.Helper()
	c := &clock{now: noon}
	return NewTokens(keys, "https://atlas.example", "atlas", c.read), c
}

func annClaims() Claims {
	return Claims{
		User: annID, Session: sessionID, Epoch: 3, Shared: 2, Roles: []string{"user", "admin"}, Scope: "all",
		AuthTime: noon.Add(-time.Hour), Methods: []string{"pwd"},
	}
}

func issue(t testing.TB, tokens *Tokens) string {
	t.Helper()
	token, _, err := tokens.Issue(annClaims())
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// forge signs any header and payload with the set's own key: what is refused is refused for what it says.
func forge(t testing.TB, keys *Keys, header, payload map[string]any) string {
	t.Helper()
	encode := func(part map[string]any) string {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := encode(header) + "." + encode(payload)
	signature, err := keys.signing.private().Sign(nil, []byte(signed), crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func goodHeader(keys *Keys) map[string]any {
	return map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": keys.signing.id}
}

func goodPayload() map[string]any {
	return map[string]any{
		"iss": "https://atlas.example", "aud": "atlas", "sub": annID, "sid": sessionID, "jti": uuid.New(),
		"client_id": "atlas", "iat": noon.Unix(), "exp": noon.Add(AccessTTL).Unix(), "tv": 3, "auth_time": noon.Unix(),
	}
}

func TestVerifyReturnsWhatWasIssued(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	token, ttl, err := tokens.Issue(annClaims())
	if err != nil || ttl != AccessTTL {
		t.Fatalf("ttl = %v, err = %v; want %v", ttl, err, AccessTTL)
	}
	want := annClaims()
	want.Client, want.IssuedAt, want.ExpiresAt = "atlas", noon, noon.Add(AccessTTL)
	for _, read := range []string{"verified", "remembered"} {
		got, err := tokens.Verify(t.Context(), token.Reveal())
		if err != nil || got.ID == uuid.Nil {
			t.Fatalf("%s: id %v, err = %v", read, got.ID, err)
		}
		want.ID = got.ID
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", read, diff)
		}
		got.Roles[0] = "changed by its reader"
	}
}

func TestTokenHoldsExactlyTheNamedMembers(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	parts := strings.Split(issue(t, tokens), ".")
	members := func(part string) map[string]bool {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for name := range object {
			names[name] = true
		}
		return names
	}
	set := func(names string) map[string]bool {
		s := map[string]bool{}
		for _, n := range strings.Fields(names) {
			s[n] = true
		}
		return s
	}
	if diff := cmp.Diff(set("alg typ kid"), members(parts[0])); diff != "" {
		t.Error(diff)
	}
	want := set("iss aud sub sid jti client_id iat exp tv gv auth_time amr roles scope")
	if diff := cmp.Diff(want, members(parts[1])); diff != "" {
		t.Error(diff)
	}
}

func TestTokenNeedsUserSessionAndTimeOfSigningIn(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	for _, spoil := range []func(*Claims){
		func(c *Claims) { c.User = uuid.Nil },
		func(c *Claims) { c.Session = uuid.Nil },
		func(c *Claims) { c.AuthTime = time.Time{} },
	} {
		c := annClaims()
		spoil(&c)
		if _, _, err := tokens.Issue(c); err == nil {
			t.Errorf("%+v was issued", c)
		}
	}
}

func TestTokenExpiresAfterTenMinutesAndTheLeeway(t *testing.T) {
	t.Parallel()
	tokens, clock := newTokens(t, newKeys(t))
	forgetful, forgetfulClock := newTokens(t, tokens.Keys())
	token := issue(t, tokens)
	for _, c := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil}, {AccessTTL + 29*time.Second, nil}, {AccessTTL + 30*time.Second, ErrTokenExpired}, {time.Hour, ErrTokenExpired},
	} {
		clock.now, forgetfulClock.now = noon.Add(c.after), noon.Add(c.after)
		if _, err := tokens.Verify(t.Context(), token); !errors.Is(err, c.want) {
			t.Errorf("after %v: %v, want %v", c.after, err, c.want)
		}
		forgetful.trusted.Load().verified = newMemory[Claims]()
		if _, err := forgetful.Verify(t.Context(), token); !errors.Is(err, c.want) {
			t.Errorf("after %v, seen for the first time: %v, want %v", c.after, err, c.want)
		}
	}
}

func TestTokenFromTheFutureIsRefusedBeyondTheLeeway(t *testing.T) {
	t.Parallel()
	tokens, clock := newTokens(t, newKeys(t))
	token := issue(t, tokens)
	clock.now = noon.Add(-31 * time.Second)
	if _, err := tokens.Verify(t.Context(), token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("31 s early: %v, want ErrTokenInvalid", err)
	}
	clock.now = noon.Add(-30 * time.Second)
	if _, err := tokens.Verify(t.Context(), token); err != nil {
		t.Errorf("30 s early: %v", err)
	}
}

func TestChangedTokenIsInvalid(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	token := issue(t, tokens)
	if _, err := tokens.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", token[len(token)-1])
	stray := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1]
	for name, changed := range map[string]string{
		"empty":                "",
		"one part":             parts[0],
		"two parts":            parts[0] + "." + parts[1],
		"four parts":           token + ".",
		"no signature":         parts[0] + "." + parts[1] + ".",
		"another signature":    token[:len(token)-5] + "AAAAA",
		"stray bits":           token[:len(token)-1] + string(stray),
		"padding":              token + "==",
		"a line break":         token[:10] + "\n" + token[10:],
		"a trailing newline":   token + "\n",
		"a leading space":      " " + token,
		"standard base64":      strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
		"a shorter signature":  token[:len(token)-4],
		"too long":             parts[0] + "." + strings.Repeat("A", maxToken) + "." + parts[2],
		"another payload":      parts[0] + "." + parts[1][:len(parts[1])-4] + "." + parts[2],
		"the payload twice":    parts[0] + "." + parts[1] + parts[1] + "." + parts[2],
		"characters of no set": strings.Repeat("é", 100),
	} {
		if _, err := tokens.Verify(t.Context(), changed); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v, want ErrTokenInvalid", name, err)
		}
	}
}

func TestOnlyOurExactHeaderIsAccepted(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	tokens, _ := newTokens(t, keys)
	if _, err := tokens.Verify(t.Context(), forge(t, keys, goodHeader(keys), goodPayload())); err != nil {
		t.Fatalf("the unchanged header: %v", err)
	}
	for name, change := range map[string]map[string]any{
		"alg none":          {"alg": "none"},
		"alg None":          {"alg": "None"},
		"alg HS256":         {"alg": "HS256"},
		"alg ES256":         {"alg": "ES256"},
		"alg in lower case": {"alg": "eddsa"},
		"alg missing":       {"alg": nil},
		"alg as a number":   {"alg": 1},
		"typ JWT":           {"typ": "JWT"},
		"typ missing":       {"typ": nil},
		"typ in upper case": {"typ": "AT+JWT"},
		"kid unknown":       {"kid": "k1"},
		"kid missing":       {"kid": nil},
		"kid as a list":     {"kid": []string{keys.signing.id}},
		"jku":               {"jku": "https://eve.example/keys"},
		"jwk":               {"jwk": map[string]any{"kty": "OKP"}},
		"x5u":               {"x5u": "https://eve.example/cert"},
		"x5c":               {"x5c": []string{"MII"}},
		"crit":              {"crit": []string{"exp"}},
		"b64":               {"b64": false},
		"cty":               {"cty": "JWT"},
	} {
		if _, err := tokens.Verify(t.Context(), forge(t, keys, changed(goodHeader(keys), change), goodPayload())); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v, want ErrTokenInvalid", name, err)
		}
	}
}

func TestOnlyOurExactClaimsAreAccepted(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	tokens, _ := newTokens(t, keys)
	for name, change := range map[string]map[string]any{
		"another issuer":           {"iss": "https://atlas.example/"},
		"no issuer":                {"iss": nil},
		"another audience":         {"aud": "other"},
		"one more audience":        {"aud": []string{"atlas", "other"}},
		"no audience":              {"aud": nil},
		"no expiry":                {"exp": nil},
		"expiry as text":           {"exp": "later"},
		"a longer life":            {"exp": noon.Add(AccessTTL + time.Second).Unix()},
		"a life without bounds":    {"exp": 1e11},
		"no issue time":            {"iat": nil},
		"issued in the future":     {"iat": noon.Add(31 * time.Second).Unix()},
		"not valid yet":            {"nbf": noon.Add(time.Minute).Unix()},
		"no user":                  {"sub": nil},
		"a user that is no id":     {"sub": "ann"},
		"the nil user":             {"sub": uuid.Nil},
		"no session":               {"sid": nil},
		"a session that is no id":  {"sid": 7},
		"no token id":              {"jti": nil},
		"an epoch that is no int":  {"tv": 2.5},
		"an epoch beyond int64":    {"tv": 1e30},
		"roles that are not texts": {"roles": []int{1}},
	} {
		if _, err := tokens.Verify(t.Context(), forge(t, keys, goodHeader(keys), changed(goodPayload(), change))); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v, want ErrTokenInvalid", name, err)
		}
	}
}

// changed returns a copy with members replaced, or removed where the new value is nil.
func changed(object, change map[string]any) map[string]any {
	object = maps.Clone(object)
	maps.Copy(object, change)
	maps.DeleteFunc(object, func(_ string, v any) bool { return v == nil })
	return object
}

func TestRetiredKeyStillVerifiesAndAForeignOneNever(t *testing.T) {
	t.Parallel()
	retired, current := GenerateSeed(), GenerateSeed()
	before, _ := newTokens(t, newKeys(t, retired))
	after, _ := newTokens(t, newKeys(t, current, retired))
	if _, err := after.Verify(t.Context(), issue(t, before)); err != nil {
		t.Errorf("token of the retired key: %v", err)
	}
	if _, err := before.Verify(t.Context(), issue(t, after)); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("token of a key this node does not hold: %v, want ErrTokenInvalid", err)
	}
	// A key that signs under the name of another.
	ours, theirs := newKeys(t, current), newKeys(t)
	theirs.signing.id = ours.signing.id
	if _, err := after.Verify(t.Context(), forge(t, theirs, goodHeader(ours), goodPayload())); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("token signed by another key: %v, want ErrTokenInvalid", err)
	}
}

func TestPublicKeyAsSharedSecretIsRefused(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	tokens, _ := newTokens(t, keys)
	if got := len(keys.public[0].key); got != ed25519.PublicKeySize {
		t.Fatalf("public key of %d bytes", got)
	}
	header := changed(goodHeader(keys), map[string]any{"alg": "HS512"})
	if _, err := tokens.Verify(t.Context(), forge(t, keys, header, goodPayload())); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("got %v, want ErrTokenInvalid", err)
	}
}

func TestMemoryOfVerifiedTokensIsBounded(t *testing.T) {
	t.Parallel()
	v := newMemory[Claims]()
	id := func(n int) (id [32]byte) { id[0], id[1], id[2] = byte(n), byte(n>>8), byte(n>>16); return id }
	for n := range 5 * generationSize {
		v.put(id(n), Claims{Epoch: int64(n)})
	}
	if n := len(v.young) + len(v.old); n > 2*generationSize {
		t.Errorf("%d entries, want at most %d", n, 2*generationSize)
	}
	last := 5*generationSize - 1
	if c, ok := v.get(id(last)); !ok || c.Epoch != int64(last) {
		t.Errorf("newest entry: %v, %v", c.Epoch, ok)
	}
	if _, ok := v.get(id(0)); ok {
		t.Error("the oldest entry is still there")
	}
}

func FuzzVerifyToken(f *testing.F) {
	keys := newKeys(f)
	tokens, _ := newTokens(f, keys)
	token := issue(f, tokens)
	f.Add(token)
	f.Add(token[:len(token)-5] + "AAAAA")
	f.Add(forge(f, keys, changed(goodHeader(keys), map[string]any{"alg": "none"}), goodPayload()))
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := tokens.Verify(t.Context(), s)
		if err == nil && s != token {
			t.Errorf("%q was accepted as %+v", s, c)
		}
		if err != nil && !errors.Is(err, ErrTokenInvalid) && !errors.Is(err, ErrTokenExpired) {
			t.Errorf("%q: %v is not a fault", s, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	tokens, _ := newTokens(b, newKeys(b))
	token := issue(b, tokens)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if _, err := tokens.parse(token, tokens.Keys()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := tokens.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
