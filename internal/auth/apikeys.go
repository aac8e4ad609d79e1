package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

// apiKeyMemory is how long this node relies on what it once read of a key. A cut-off is kept for longer, so that what
// was revoked after the key was read is refused for as long as it is remembered.
const apiKeyMemory = AccessTTL / 2

// KeyRecord is what the log says of an API key and of whom it acts for.
type KeyRecord struct {
	Owner         uuid.UUID // nil for a service key
	Epoch         int64     // the owner's credential epoch
	Roles         []string  // the owner's
	OwnerDisabled bool      // or gone
	Scopes        []string
	Hash          string // HashAPIKey of its secret
	Secret        int64  // the secret's number, from 1
	Previous      string // hash of the one before, "" where that is not accepted
	PreviousUntil time.Time
	ExpiresAt     time.Time // zero for never
	Revoked       bool
}

// KeyTruth is the log itself.
type KeyTruth interface {
	// APIKey returns what the log says of a key; a fault of kind NotFound where there is none.
	APIKey(ctx context.Context, id uuid.UUID) (KeyRecord, error)
}

// APIKeys turns API keys into who holds them. A key that was verified is remembered for five minutes at most, and costs a
// hash; what is revoked meanwhile, of the key or of its owner, is held against it on each use. A key whose owner's
// credentials changed is read again, and may then do what its owner may: no key exceeds its owner. While this node does
// not follow the log, it asks it about each use, and refuses when it cannot.
type APIKeys struct {
	truth       KeyTruth
	revocations *Revocations
	used        func(key uuid.UUID)
	clock       func() time.Time
	verified    *memory[verifiedKey]
}

// NewAPIKeys returns the check, which tells used about each use of a key.
func NewAPIKeys(truth KeyTruth, revocations *Revocations, used func(key uuid.UUID), clock func() time.Time) *APIKeys {
	return &APIKeys{truth: truth, revocations: revocations, used: used, clock: clock, verified: newMemory[verifiedKey]()}
}

// verifiedKey is a key as it was read. It is shared and never changed.
type verifiedKey struct {
	principal  Principal
	credential Credential
	until      time.Time // when it has to be read again
}

// Authenticate returns the principal of a valid key. Otherwise it is ErrAPIKeyInvalid, ErrTokenRevoked, or
// ErrRevocationsUnknown while neither this node nor the database can tell.
func (k *APIKeys) Authenticate(ctx context.Context, key string) (Principal, error) {
	id, err := ParseAPIKey(key)
	if err != nil {
		return Principal{}, err
	}
	text := tokenID(key)
	v, known := k.verified.get(text)
	if !known || !k.clock().Before(v.until) || k.revocations.Check(v.credential) != nil {
		if v, err = k.read(ctx, id, Secret(key)); err != nil {
			return Principal{}, err
		}
		k.verified.put(text, v)
	}
	k.used(id)
	return v.principal.clone(), nil
}

// read holds the key against the log itself.
func (k *APIKeys) read(ctx context.Context, id uuid.UUID, key Secret) (verifiedKey, error) {
	ctx, cancel := context.WithTimeout(ctx, truthTimeout)
	defer cancel()
	now := k.clock()
	r, err := k.truth.APIKey(ctx, id)
	if _, f, ok := fault.Of(err); ok && f.Kind() == fault.NotFound {
		return verifiedKey{}, ErrAPIKeyInvalid
	}
	if err != nil {
		return verifiedKey{}, fmt.Errorf("%w (%w)", ErrRevocationsUnknown.RetryAfter(time.Second), err)
	}
	secret, until, err := r.accepts(HashAPIKey(key), now)
	if err != nil {
		return verifiedKey{}, err
	}
	return verifiedKey{
		principal:  Principal{User: r.Owner, Key: id, Roles: r.Roles, Scopes: r.Scopes, Epoch: r.Epoch},
		credential: Credential{User: r.Owner, Epoch: r.Epoch, Key: id, Secret: secret},
		until:      until,
	}, nil
}

// accepts says which of its secrets the hash is of, and until when that may be relied on. Why a key is refused is told to
// who holds a secret of it, and to nobody else.
func (r KeyRecord) accepts(hash string, now time.Time) (secret int64, until time.Time, err error) {
	until = now.Add(apiKeyMemory)
	switch {
	case sameHash(hash, r.Hash):
		secret = r.Secret
	case r.Previous != "" && sameHash(hash, r.Previous) && now.Before(r.PreviousUntil):
		secret, until = r.Secret-1, earlier(until, r.PreviousUntil)
	default:
		return 0, until, ErrAPIKeyInvalid
	}
	switch {
	case r.Revoked:
		return 0, until, ErrTokenRevoked.Because("the API key was revoked")
	case r.OwnerDisabled:
		return 0, until, ErrTokenRevoked.Because("the account that the API key belongs to is disabled")
	case r.ExpiresAt.IsZero():
		return secret, until, nil
	case !now.Before(r.ExpiresAt):
		return 0, until, ErrAPIKeyInvalid.Because("the API key has expired")
	}
	return secret, earlier(until, r.ExpiresAt), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Credentials turns what a caller presents into who presents it: an access token or an API key.
type Credentials struct {
	tokens *Authenticator
	keys   *APIKeys
}

// NewCredentials returns the two as one.
func NewCredentials(tokens *Authenticator, keys *APIKeys) *Credentials {
	return &Credentials{tokens: tokens, keys: keys}
}

// Authenticate returns the principal of a valid credential, or fails as Authenticator and APIKeys do.
func (c *Credentials) Authenticate(ctx context.Context, credential string) (Principal, error) {
	if IsAPIKey(credential) {
		return c.keys.Authenticate(ctx, credential)
	}
	return c.tokens.Authenticate(ctx, credential)
}
