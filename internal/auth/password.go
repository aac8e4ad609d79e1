package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/atlas-platform/atlas/internal/fault"
)

// What a password may be, in code points, and the sizes of what is stored of it, in bytes.
const (
	minPassword = 12
	maxPassword = 128

	saltSize = 16
	keySize  = 32
)

var (
	// ErrWeakPassword refuses a new password; its field says what is wrong with it.
	ErrWeakPassword = fault.New(fault.Invalid, "weak_password", "choose another password")

	// ErrInvalidCredentials is the one answer to a wrong password and to an unknown account.
	ErrInvalidCredentials = fault.New(fault.Unauthenticated, "invalid_credentials", "the e-mail address or the password is wrong")
)

// CheckPassword says whether a new password is acceptable: 12 to 128 code points of anything that is neither a common
// password nor little more than what is known of the account (its address, its name). It is ErrWeakPassword otherwise.
// There are no rules on composition: they make passwords worse.
func CheckPassword(password Secret, known ...string) error {
	switch text := prepare(password); {
	// JSON turns what is no Unicode text (a lone surrogate) into this character, so that two passwords become one.
	case strings.ContainsRune(text, utf8.RuneError):
		return weak("invalid_format", "The password holds characters that are not valid text.")
	case utf8.RuneCountInString(text) < minPassword:
		return weak("too_short", fmt.Sprintf("A password has at least %d characters.", minPassword))
	case utf8.RuneCountInString(text) > maxPassword:
		return weak("too_long", fmt.Sprintf("A password has at most %d characters.", maxPassword))
	case isCommon(text):
		return weak("common", "This is among the passwords that are tried first.")
	case isOwn(text, known...):
		return weak("own_words", "The password is little more than your name or address.")
	}
	return nil
}

func weak(code, message string) error {
	return ErrWeakPassword.At(fault.Field{Pointer: "/password", Code: code, Message: message})
}

// prepare gives a password the one form it is counted and hashed in: composed, so that "é" is the same from every
// keyboard. Nothing is cut off.
func prepare(password Secret) string { return norm.NFC.String(password.Reveal()) }

// Hasher turns passwords into argon2id hashes and checks them. It is safe for concurrent use; at most one hash per
// processor is computed at a time, a few callers wait, and the rest get ErrBusy.
type Hasher struct {
	cost   Cost
	gate   gate
	hashes atomic.Uint64
	nobody string // the hash of an account that does not exist
}

// waitingPerProcessor keeps the wait for a slot under about half a second at the default cost.
const waitingPerProcessor = 16

// NewHasher returns a hasher that makes new hashes at the given cost.
func NewHasher(cost Cost) (*Hasher, error) {
	n := runtime.GOMAXPROCS(0)
	return newHasher(cost, newGate(n, n*waitingPerProcessor))
}

func newHasher(cost Cost, g gate) (*Hasher, error) {
	if !cost.valid() {
		return nil, fmt.Errorf("argon2id cost %+v is out of bounds", cost)
	}
	// No password hashes to a random key, and checking against it costs what checking a real one does.
	nobody := phc{cost: cost, salt: random(saltSize), key: random(keySize)}
	return &Hasher{cost: cost, gate: g, nobody: nobody.String()}, nil
}

// Hash returns the password's hash as a PHC string, with a new salt. It fails with ErrBusy or when ctx ends.
func (h *Hasher) Hash(ctx context.Context, password Secret) (string, error) {
	hash := phc{cost: h.cost, salt: random(saltSize)}
	key, err := h.derive(ctx, password, hash, keySize)
	if err != nil {
		return "", err
	}
	hash.key = key
	return hash.String(), nil
}

// Verify says whether the password is the one stored as a PHC string. With ok, rehash says that the stored hash was
// made at another cost and should be replaced. It fails with ErrBusy, when ctx ends, or when the stored hash is damaged.
func (h *Hasher) Verify(ctx context.Context, stored string, password Secret) (ok, rehash bool, err error) {
	hash, err := parsePHC(stored)
	if err != nil {
		return false, false, err
	}
	key, err := h.derive(ctx, password, hash, len(hash.key))
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(key, hash.key) == 1
	current := hash.cost == h.cost && len(hash.salt) == saltSize && len(hash.key) == keySize
	return ok, ok && !current, nil
}

// VerifyNobody does the work of Verify for an account that does not exist, so that the time taken tells nothing. No
// password is nobody's. Its error is what kept the work from being done.
func (h *Hasher) VerifyNobody(ctx context.Context, password Secret) error {
	_, _, err := h.Verify(ctx, h.nobody, password)
	return err
}

// Hashes says how many hashes were computed since the hasher was made.
func (h *Hasher) Hashes() uint64 { return h.hashes.Load() }

// derive computes the key behind the gate.
func (h *Hasher) derive(ctx context.Context, password Secret, hash phc, size int) ([]byte, error) {
	if err := h.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer h.gate.leave()
	h.hashes.Add(1)
	c := hash.cost
	return argon2.IDKey([]byte(prepare(password)), hash.salt, c.Passes, c.Memory, c.Lanes, uint32(size)), nil
}

// random returns n random bytes. The system's source does not fail: crypto/rand ends the process instead.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
