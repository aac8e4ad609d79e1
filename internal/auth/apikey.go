package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

// An API key reads atlas_live_<id>_<secret>: the id as 32 hexadecimal digits, then 43 letters and digits that hold 256
// random bits, and a checksum of all before it in 6 more. Scanners of leaked secrets know one by its first part, and
// a double click selects all of it.
const (
	apiKeyPrefix   = "atlas_live_"
	apiKeyID       = 2 * len(uuid.UUID{})
	apiKeyRandom   = 43 // 62^43 > 2^256
	apiKeyChecksum = 6  // 62^6 > 2^32
	apiKeySize     = len(apiKeyPrefix) + apiKeyID + len("_") + apiKeyRandom + apiKeyChecksum
)

// base62 is what secrets are written in, without the characters that end a word.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrAPIKeyInvalid refuses what is not an API key of ours, or no longer one.
var ErrAPIKeyInvalid = fault.New(fault.Unauthenticated, "api_key_invalid", "the API key is not valid: it is mistyped, expired, or was replaced")

// NewAPIKey returns a new key with the id. Show it once, and keep HashAPIKey of it.
func NewAPIKey(id uuid.UUID) Secret {
	b := make([]byte, 0, apiKeySize)
	b = append(b, apiKeyPrefix...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, '_')
	for range apiKeyRandom {
		b = append(b, base62[randomBelow(len(base62))])
	}
	return Secret(appendChecksum(b))
}

// randomBelow returns a number from 0 to n-1, each as likely as the others; n is at most 256.
func randomBelow(n int) int {
	for {
		var b [1]byte
		_, _ = rand.Read(b[:]) // does not fail: it ends the process instead
		if v := int(b[0]); v < 256-256%n {
			return v % n
		}
	}
}

func appendChecksum(b []byte) []byte {
	sum := crc32.ChecksumIEEE(b)
	for range apiKeyChecksum {
		b = append(b, base62[sum%uint32(len(base62))])
		sum /= uint32(len(base62))
	}
	return b
}

// IsAPIKey says whether a credential wants to be an API key rather than an access token.
func IsAPIKey(credential string) bool { return strings.HasPrefix(credential, apiKeyPrefix) }

// ParseAPIKey returns the id of a key. It is ErrAPIKeyInvalid for what is not of the form, or was mistyped: nobody needs
// to be asked about that.
func ParseAPIKey(key string) (uuid.UUID, error) {
	if len(key) != apiKeySize || !IsAPIKey(key) {
		return uuid.Nil, ErrAPIKeyInvalid
	}
	digits, secret, ok := strings.Cut(key[len(apiKeyPrefix):], "_")
	if !ok || strings.ToLower(digits) != digits || strings.ContainsFunc(secret, notAlphanumeric) {
		return uuid.Nil, ErrAPIKeyInvalid
	}
	var id uuid.UUID
	if n, err := hex.Decode(id[:], []byte(digits)[:min(len(digits), apiKeyID)]); err != nil || n != len(id) || len(digits) != apiKeyID {
		return uuid.Nil, ErrAPIKeyInvalid
	}
	if body := key[:apiKeySize-apiKeyChecksum]; string(appendChecksum([]byte(body))) != key {
		return uuid.Nil, ErrAPIKeyInvalid
	}
	return id, nil
}

// HashAPIKey returns what is kept of a key. It is a fast hash: nobody guesses 256 random bits.
func HashAPIKey(key Secret) string {
	sum := sha256.Sum256([]byte(key.Reveal()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// sameHash compares in a time that does not tell how much of it is right.
func sameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
