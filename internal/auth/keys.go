package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxKeys bounds a key set: a rotation needs two or three.
const maxKeys = 16

// minDistinct is how many different values a random seed is sure to hold: fewer has a chance below 1 in 10^15.
const minDistinct = 14

// publishedSeed is the private key printed in RFC 8037, the one most likely to be copied from a page.
const publishedSeed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

// Keys is a set of Ed25519 keys of which one signs access tokens and all verify them. It never changes, and printing it
// shows no private key.
type Keys struct {
	signing Seed
	public  []publicKey
}

type publicKey struct {
	id  string
	key ed25519.PublicKey
}

// Seed is a private signing key. Printing it shows nothing of it.
type Seed struct {
	id      string
	private sealed[ed25519.PrivateKey]
}

// ID returns the key's RFC 7638 thumbprint.
func (s Seed) ID() string { return s.id }

// Public returns the public key as Public reads it: x of a JSON Web Key, base64url without padding.
func (s Seed) Public() string {
	return base64.RawURLEncoding.EncodeToString(s.private().Public().(ed25519.PublicKey))
}

// Reveal returns the 32 bytes that the key is made of, for whoever keeps it.
func (s Seed) Reveal() []byte { return s.private().Seed() }

// NewSeed makes a signing key.
func NewSeed() Seed {
	for {
		seed := random(ed25519.SeedSize)
		if looksRandom(base64.RawURLEncoding.EncodeToString(seed), seed) { // one in billions does not
			return seedOf(ed25519.NewKeyFromSeed(seed))
		}
	}
}

// GenerateSeed returns a new signing key, in the form that ParseKeys reads.
func GenerateSeed() Secret {
	return Secret(base64.RawURLEncoding.EncodeToString(NewSeed().Reveal()))
}

// SeedFrom returns the signing key made of what Seed.Reveal returned.
func SeedFrom(revealed []byte) (Seed, error) {
	if len(revealed) != ed25519.SeedSize {
		return Seed{}, fmt.Errorf("signing key: it has not %d bytes", ed25519.SeedSize)
	}
	return seedOf(ed25519.NewKeyFromSeed(revealed)), nil
}

func seedOf(private ed25519.PrivateKey) Seed {
	return Seed{id: thumbprint(private.Public().(ed25519.PublicKey)), private: seal(private)}
}

// NewKeys returns the set of the key that signs and of public keys, as Seed.Public returned them, that verify beside it.
func NewKeys(signing Seed, public ...string) (*Keys, error) {
	k := &Keys{signing: signing}
	k.add(signing.private().Public().(ed25519.PublicKey))
	for _, x := range public {
		key, err := base64.RawURLEncoding.Strict().DecodeString(x)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, errors.New("public key: it is not 32 bytes in base64url without padding")
		}
		k.add(key)
	}
	return k, nil
}

// add takes in a public key, once.
func (k *Keys) add(key ed25519.PublicKey) {
	id := thumbprint(key)
	if _, there := k.find(id); !there {
		k.public = append(k.public, publicKey{id: id, key: key})
	}
}

// ParseKeys reads keys as ParseSeeds does, into a set of which the first one signs.
func ParseKeys(list string) (*Keys, error) {
	seeds, err := ParseSeeds(list)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, s := range seeds[1:] {
		others = append(others, s.Public())
	}
	return NewKeys(seeds[0], others...)
}

// ParseSeeds reads a comma-separated list of 32-byte seeds in unpadded base64url; it returns one at least. It refuses
// placeholders, repeated keys and seeds that are not random; its errors name a key by its place in the list and never
// show any of it.
func ParseSeeds(list string) (seeds []Seed, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, errors.New("signing keys: none is given")
	}
	given := strings.Split(list, ",")
	if len(given) > maxKeys {
		return nil, fmt.Errorf("signing keys: %d are given, at most %d are allowed", len(given), maxKeys)
	}
	for i, text := range given {
		seed, err := parseSeed(strings.TrimSpace(text))
		if err == nil && slices.ContainsFunc(seeds, func(s Seed) bool { return s.id == seed.id }) {
			err = errors.New("it repeats an earlier one")
		}
		if err != nil {
			return nil, fmt.Errorf("signing key %d of %d: %w", i+1, len(given), err)
		}
		seeds = append(seeds, seed)
	}
	return seeds, nil
}

func parseSeed(text string) (Seed, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize || strings.ContainsAny(text, "\r\n") {
		return Seed{}, errors.New("it is not 32 bytes in base64url without padding")
	}
	if text == publishedSeed || !looksRandom(text, seed) {
		return Seed{}, errors.New("it is a placeholder, not random; make a new one")
	}
	return seedOf(ed25519.NewKeyFromSeed(seed)), nil
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

// Signs returns the id of the key that signs.
func (k *Keys) Signs() string { return k.signing.id }

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
