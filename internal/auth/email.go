package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

// Lengths that SMTP can carry (RFC 5321, with erratum 1690), in bytes.
const (
	maxEmail = 254
	maxLocal = 64
	maxLabel = 63
)

// ErrInvalidEmail refuses text that is not a plain e-mail address.
var ErrInvalidEmail = fault.ErrValidation

// NormalizeEmail returns the address with its domain in lower case, as it is stored and written to. It is
// ErrInvalidEmail unless it is a plain local@domain: no display name, comment, quotes, address literal, space or line
// break, and nothing is trimmed away.
//
// Addresses are ASCII. One address with two spellings (Unicode and punycode, composed and not) could open two accounts,
// and many servers cannot deliver the former; a domain's punycode form is accepted.
func NormalizeEmail(address string) (string, error) {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || len(address) > maxEmail || !validLocal(local) || !validDomain(domain) {
		return "", ErrInvalidEmail.At(fault.Field{
			Pointer: "/email", Code: "invalid_format", Message: "Write an address like name@example.com.",
		})
	}
	return local + "@" + strings.ToLower(domain), nil
}

// EmailKey returns the id of the stream that reserves a normalised address: a UUIDv8 made by HMAC-SHA-256, so that
// the log tells the address only to those who hold the secret. It ignores the case of the local part as well: two
// people never differ by that alone. The secret must never change, and should be 32 random bytes.
func EmailKey(secret []byte, normalized string) uuid.UUID {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(strings.ToLower(normalized)))
	id := uuid.UUID(mac.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by the application
	id[8] = id[8]&0x3f | 0x80 // RFC 9562's variant
	return id
}

// validLocal accepts RFC 5322's dot-atom.
func validLocal(local string) bool {
	if len(local) > maxLocal {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, notAtext) {
			return false
		}
	}
	return true
}

func notAtext(r rune) bool {
	return notAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// validDomain accepts a host name of at least two labels whose last is not a number.
func validDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if !validLabel(label) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) >= 2 && strings.Trim(last, "0123456789") != ""
}

func validLabel(label string) bool {
	return label != "" && len(label) <= maxLabel &&
		!strings.HasPrefix(label, "-") && !strings.HasSuffix(label, "-") &&
		!strings.ContainsFunc(label, func(r rune) bool { return r != '-' && notAlphanumeric(r) })
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}
