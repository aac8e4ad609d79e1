package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxKeys bounds a key set: a rotation needs two or three.
const maxKeys = 16

// minDistinct is how many different values a random seed is sure to hold: fewer has a chance below 1 in 10^15.
const minDistinct = 14

// publishedSeed is the private key printed in RFC 8037, the one most likely to be copied from a page.
const publishedSeed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

// Keys is the set of Ed25519 keys that sign and verify access tokens. The first signs, all verify. It never changes,
// and printing it shows no private key.
type Keys struct {
	signing signingKey
	public  []publicKey
}

type signingKey struct {
	id      string
	private sealed[ed25519.PrivateKey]
}

type publicKey struct {
	id  string
	key ed25519.PublicKey
}

// GenerateSeed returns a new signing key, in the form that ParseKeys reads.
func GenerateSeed() Secret {
	for {
		seed := random(ed25519.SeedSize)
		text := base64.RawURLEncoding.EncodeToString(seed)
		if looksRandom(text, seed) { // one in billions does not
			return Secret(text)
		}
	}
}

// ParseKeys reads a comma-separated list of 32-byte seeds in unpadded base64url. It refuses placeholders, repeated keys
// and seeds that are not random; its errors name a key by its place in the list and never show any of it.
func ParseKeys(list string) (*Keys, error) {
	if strings.TrimSpace(list) == "" {
		return nil, errors.New("signing keys: none is given")
	}
	seeds := strings.Split(list, ",")
	if len(seeds) > maxKeys {
		return nil, fmt.Errorf("signing keys: %d are given, at most %d are allowed", len(seeds), maxKeys)
	}
	keys := &Keys{}
	for i, seed := range seeds {
		private, err := parseSeed(strings.TrimSpace(seed))
		if err == nil {
			err = keys.add(private)
		}
		if err != nil {
			return nil, fmt.Errorf("signing key %d of %d: %w", i+1, len(seeds), err)
		}
	}
	return keys, nil
}

func parseSeed(text string) (ed25519.PrivateKey, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("it is not 32 bytes in base64url without padding")
	}
	if text == publishedSeed || !looksRandom(text, seed) {
		return nil, errors.New("it is a placeholder, not random; make a new one")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// looksRandom refuses what people type and what counters count: text, few different characters or bytes, even steps.
func looksRandom(text string, seed []byte) bool {
	steps := make([]byte, len(seed))
	printable := true
	for i, b := range seed {
		steps[i] = b - seed[(i+1)%len(seed)]
		printable = printable && b >= ' ' && b <= '~'
	}
	sentence := text == strings.ToLower(text) || text == strings.ToUpper(text)
	return !printable && !sentence &&
		distinct([]byte(text)) >= minDistinct && distinct(seed) >= minDistinct && distinct(steps) >= minDistinct
}

func distinct(bytes []byte) int {
	seen := map[byte]bool{}
	for _, b := range bytes {
		seen[b] = true
	}
	return len(seen)
}

func (k *Keys) add(private ed25519.PrivateKey) error {
	public := private.Public().(ed25519.PublicKey)
	id := thumbprint(public)
	if _, ok := k.find(id); ok {
		return errors.New("it repeats an earlier one")
	}
	if len(k.public) == 0 {
		k.signing = signingKey{id: id, private: seal(private)}
	}
	k.public = append(k.public, publicKey{id: id, key: public})
	return nil
}

// find returns the key that has the id; nothing but this set is ever asked.
func (k *Keys) find(id string) (ed25519.PublicKey, bool) {
	for _, p := range k.public {
		if p.id == id {
			return p.key, true
		}
	}
	return nil, false
}

// thumbprint is RFC 7638's name of a key: the hash of its required members in order.
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// JWKS returns the public keys as a JSON Web Key Set, the signing key first.
func (k *Keys) JWKS() []byte {
	type jwk struct {
		KeyType   string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		ID        string `json:"kid"`
		Algorithm string `json:"alg"`
		Use       string `json:"use"`
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, p := range k.public {
		x := base64.RawURLEncoding.EncodeToString(p.key)
		set.Keys = append(set.Keys, jwk{KeyType: "OKP", Curve: "Ed25519", X: x, ID: p.id, Algorithm: "EdDSA", Use: "sig"})
	}
	doc, err := json.Marshal(set)
	if err != nil {
		panic(fmt.Sprintf("encode key set: %v", err)) // strings always encode
	}
	return doc
}
