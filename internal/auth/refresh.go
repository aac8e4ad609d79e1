package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

const (
	refreshPrefix = "atr_" // lets scanners of leaked secrets know one
	refreshLabel  = "atlas refresh token v1"
	refreshKey    = 32

	counterAt   = 16            // after the session's id
	macAt       = counterAt + 8 // after the counter
	refreshSize = macAt + sha256.Size
)

var (
	// ErrRefreshTokenInvalid refuses text that is not a refresh token of ours, and the token of a session that ended or of
	// a user who is disabled.
	ErrRefreshTokenInvalid = fault.New(fault.Unauthenticated, "refresh_token_invalid", "the refresh token is not valid; sign in again")

	// ErrRefreshTokenExpired refuses the token of a session that was idle, or lived, for too long.
	ErrRefreshTokenExpired = fault.New(fault.Unauthenticated, "refresh_token_expired", "the session has expired; sign in again")

	// ErrRefreshTokenReused refuses a token that was replaced before. Whoever presents it, or whoever holds the one
	// that replaced it, has stolen it: the session must end.
	ErrRefreshTokenReused = fault.New(fault.Unauthenticated, "refresh_token_reused", "the refresh token was used before, so the session was ended; sign in again")
)

// Refresh makes and reads refresh tokens: a session's id, the number of times it was rotated, and a MAC under a key of
// that session. So a session needs one counter in the database and no table of tokens.
type Refresh struct {
	key sealed[[]byte]
}

// NewRefresh returns the refresh tokens made under a server key of 32 random bytes.
func NewRefresh(key []byte) (*Refresh, error) {
	if len(key) != refreshKey || distinct(key) < minDistinct {
		return nil, fmt.Errorf("refresh token key: it is not %d random bytes", refreshKey)
	}
	return &Refresh{key: seal(bytes.Clone(key))}, nil
}

// Mint returns the session's token at a counter. The same arguments give the same token: that is what lets a lost
// answer be repeated.
func (r *Refresh) Mint(session uuid.UUID, counter uint64) Secret {
	b := make([]byte, 0, refreshSize)
	b = append(b, session[:]...)
	b = binary.BigEndian.AppendUint64(b, counter)
	b = append(b, r.mac(session, b)...)
	return Secret(refreshPrefix + base64.RawURLEncoding.EncodeToString(b))
}

// Parse returns what a token of ours says, in a time that does not depend on how much of its MAC is right. Anything
// else is ErrRefreshTokenInvalid. Whether the token is still the current one is for RefreshStore to say.
func (r *Refresh) Parse(token Secret) (session uuid.UUID, counter uint64, err error) {
	text, ok := strings.CutPrefix(token.Reveal(), refreshPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(refreshSize) {
		return uuid.Nil, 0, ErrRefreshTokenInvalid
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != refreshSize { // shorter with line breaks in it, which decoding skips
		return uuid.Nil, 0, ErrRefreshTokenInvalid
	}
	session = uuid.UUID(b[:counterAt])
	counter = binary.BigEndian.Uint64(b[counterAt:macAt])
	if !hmac.Equal(b[macAt:], r.mac(session, b[:macAt])) || counter >= math.MaxInt64 {
		return uuid.Nil, 0, ErrRefreshTokenInvalid
	}
	return session, counter, nil
}

// mac signs with a key of the session's own, so that no token says anything about another session's.
func (r *Refresh) mac(session uuid.UUID, message []byte) []byte {
	key, err := hkdf.Key(sha256.New, r.key(), session[:], refreshLabel, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("derive refresh key: %v", err)) // only for lengths that never occur
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}
