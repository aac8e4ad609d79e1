package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
)

// VerificationLifetime is how long a mailbox can be shown to be somebody's after they signed up.
const VerificationLifetime = time.Hour

// verificationPrefix lets secret scanners and people see what a token is.
const verificationPrefix = "atv_"

// Verifications makes the tokens that are mailed to an address to show that its mail is read, and reads them.
//
// A token is an HMAC over the user and the time until which it is good. Nothing of it is stored, so nothing can leak;
// every node, and a worker that has to send a mail again, makes the same one. That it is used once is for the user's
// stream to say.
type Verifications struct{ secret sealed[[]byte] }

// NewVerifications returns the maker of tokens under a secret of 32 bytes, the same on every node.
func NewVerifications(secret []byte) (*Verifications, error) {
	if len(secret) < 32 {
		return nil, errors.New("the secret of verification tokens has fewer than 32 bytes")
	}
	return &Verifications{seal(secret)}, nil
}

// Mint returns the token that shows that a user reads their mail, until that time.
func (v *Verifications) Mint(user uuid.UUID, until time.Time) Secret {
	return Secret(verificationPrefix + base64.RawURLEncoding.EncodeToString(append(user[:], v.mac(user, until)...)))
}

// User returns whom a token names; nobody (the nil UUID) if it has not the form of one. Whether it is theirs says Check.
func (v *Verifications) User(token Secret) uuid.UUID {
	user, _ := splitVerification(token)
	return user
}

// Check says whether it is the token of the user that is good until that time.
func (v *Verifications) Check(token Secret, user uuid.UUID, until time.Time) bool {
	named, mac := splitVerification(token)
	return hmac.Equal(mac, v.mac(user, until)) && named == user
}

func splitVerification(token Secret) (user uuid.UUID, mac []byte) {
	text, ok := strings.CutPrefix(token.Reveal(), verificationPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != len(user)+sha256.Size {
		return uuid.Nil, nil
	}
	return uuid.UUID(raw[:len(user)]), raw[len(user):]
}

func (v *Verifications) mac(user uuid.UUID, until time.Time) []byte {
	mac := hmac.New(sha256.New, v.secret())
	mac.Write([]byte("atlas e-mail verification\x00"))
	mac.Write(user[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(until.UnixMicro())))
	return mac.Sum(nil)
}
