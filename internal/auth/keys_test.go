package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newKeys(t testing.TB, seeds ...Secret) *Keys {
	t.Helper()
	if len(seeds) == 0 {
		seeds = []Secret{GenerateSeed()}
	}
	var list []string
	for _, s := range seeds {
		list = append(list, s.Reveal())
	}
	keys, err := ParseKeys(strings.Join(list, ","))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestThumbprintIsTheStandardsOwn(t *testing.T) {
	t.Parallel()
	seed, err := base64.RawURLEncoding.DecodeString(publishedSeed)
	if err != nil {
		t.Fatal(err)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if got, want := thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want { // RFC 8037, A.3
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKeySetPublishesEveryKeyTheSigningOneFirst(t *testing.T) {
	t.Parallel()
	a, b := GenerateSeed(), GenerateSeed()
	keys := newKeys(t, a, " "+b+"\n")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(keys.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0]["kid"] != keys.signing.id {
		t.Fatalf("key set %s; want two keys, the signing one first", keys.JWKS())
	}
	want := map[string]string{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
		"kid": thumbprint(keys.public[1].key), "x": base64.RawURLEncoding.EncodeToString(keys.public[1].key),
	}
	if diff := cmp.Diff(want, set.Keys[1]); diff != "" {
		t.Error(diff)
	}
}

func TestGuessableKeysAreRefusedWithoutShowingThem(t *testing.T) {
	t.Parallel()
	encode := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	counting := make([]byte, 32)
	for i := range counting {
		counting[i] = byte(i)
	}
	good := GenerateSeed().Reveal()
	for name, list := range map[string]string{
		"none":                 "",
		"blank":                " ",
		"an empty member":      good + ",",
		"not base64url":        strings.Repeat("+", 43),
		"padded":               good + "=",
		"a line break inside":  good[:20] + "\n" + good[20:],
		"stray bits":           good[:42] + "B",
		"too short":            encode(counting[:31]),
		"too long":             good + good,
		"zeros":                encode(make([]byte, 32)),
		"counting":             encode(counting),
		"text":                 encode([]byte("change me: I am a signing secret")),
		"a repeated word":      "change-me-change-me-change-me-change-me-cha",
		"a sentence":           "replace-this-with-a-real-signing-key-pleasy",
		"a published key":      publishedSeed,
		"the same key twice":   good + "," + good,
		"a bad one at the end": good + "," + encode(make([]byte, 32)),
		"too many":             strings.Repeat(good+",", maxKeys) + good,
	} {
		_, err := ParseKeys(list)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, seed := range strings.Split(list, ",") {
			if len(seed) > 8 && strings.Contains(err.Error(), seed[:8]) {
				t.Errorf("%s: the error shows the key: %v", name, err)
			}
		}
	}
}

func TestGeneratedSeedsAreAccepted(t *testing.T) {
	t.Parallel()
	for range 1000 {
		newKeys(t, GenerateSeed())
	}
}
