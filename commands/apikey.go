package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Faults of an API key's rules.
var (
	ErrAPIKeyExists  = fault.New(fault.Conflict, "api_key_exists", "an API key with this id exists")
	ErrAPIKeyName    = fault.New(fault.Invalid, "api_key_name_invalid", "the name must have 1 to 100 characters, not all of them spaces")
	ErrAPIKeyScopes  = fault.New(fault.Invalid, "api_key_scopes_invalid", "there must be 1 to 50 scopes, each of them once")
	ErrAPIKeyScope   = fault.New(fault.Forbidden, "api_key_scope_reserved", "this scope is for service keys only, which an admin makes")
	ErrAPIKeyExpiry  = fault.New(fault.Invalid, "api_key_expiry_invalid", "the key must expire in the future, or never")
	ErrAPIKeyExpired = fault.New(fault.Conflict, "api_key_expired", "the API key has expired; make a new one")
	ErrAPIKeyOverlap = fault.New(fault.Invalid, "api_key_overlap_invalid", "the old secret may go on for up to 7 days")
)

// Limits of an API key.
const (
	maxKeyName    = 100 // characters
	maxKeyScopes  = 50
	maxKeyOverlap = 7 * 24 * time.Hour
)

// ServiceScopes lists the scopes that only service keys may have: each reaches beyond what is one user's.
func ServiceScopes() []string {
	return []string{"events:read", "subscriptions:use", "unseal", "webhooks:write"}
}

// APIKey decides what may happen to one API key. What a key may do is decided elsewhere, on each use: its scopes say
// what it asks for, its owner what it may have.
var APIKey = Decider[apiKey, APIKeyCommand, events.APIKeyEvent]{
	Category: "apikey",
	Decide:   decideAPIKey,
	Evolve:   evolveAPIKey,
}

type apiKey struct {
	exists        bool
	owner         uuid.UUID // nil for a service key
	scopes        []string
	hash          string
	secret        int64  // number of the current secret, from 1
	previous      string // hash of the one before, "" where that is not accepted
	previousUntil time.Time
	expiresAt     *time.Time // nil for never
	revoked       bool
}

// APIKeyCommand is the closed set of what can be asked of an API key.
type APIKeyCommand interface{ apiKeyCommand() }

// CreateAPIKey makes a key that acts for its owner.
type CreateAPIKey struct {
	Owner     uuid.UUID
	Name      string
	Scopes    []string
	Hash      string     // of its secret
	ExpiresAt *time.Time // nil for never
	At        time.Time
}

// CreateServiceKey makes a key that acts for no user. Only admins may.
type CreateServiceKey struct {
	By        Actor
	Name      string
	Scopes    []string
	Hash      string
	ExpiresAt *time.Time
	At        time.Time
}

// RotateAPIKey gives the key another secret. The one before is accepted for as long as Overlap says, zero for not at all;
// all earlier ones end at once. The owner may, and admins for a service key.
type RotateAPIKey struct {
	By      Actor
	Hash    string
	Overlap time.Duration
	At      time.Time
}

// RevokeAPIKey ends the key for good. The owner and admins may.
type RevokeAPIKey struct{ By Actor }

func (CreateAPIKey) apiKeyCommand()     {}
func (CreateServiceKey) apiKeyCommand() {}
func (RotateAPIKey) apiKeyCommand()     {}
func (RevokeAPIKey) apiKeyCommand()     {}

func decideAPIKey(k apiKey, command APIKeyCommand) ([]events.APIKeyEvent, error) {
	switch c := command.(type) {
	case CreateAPIKey:
		return createAPIKey(k, c)
	case CreateServiceKey:
		return createServiceKey(k, c)
	case RotateAPIKey:
		return rotateAPIKey(k, c)
	case RevokeAPIKey:
		if !k.exists || k.revoked || !k.ownedBy(c.By) && !c.By.Admin {
			return nil, ErrNotFound
		}
		return []events.APIKeyEvent{events.APIKeyRevoked{OwnerID: k.owner}}, nil
	}
	panic(fmt.Sprintf("API key: command %T not decided", command))
}

// ownedBy says whether the key is the actor's to look after: a user's key is its owner's, a service key every admin's.
func (k apiKey) ownedBy(by Actor) bool {
	if k.owner == uuid.Nil {
		return by.Admin
	}
	return k.owner == by.User
}

func createAPIKey(k apiKey, c CreateAPIKey) ([]events.APIKeyEvent, error) {
	if err := checkNewKey(k, c.Name, c.Scopes, c.ExpiresAt, c.At); err != nil {
		return nil, err
	}
	for i, scope := range c.Scopes {
		if slices.Contains(ServiceScopes(), scope) {
			return nil, at(ErrAPIKeyScope, fmt.Sprintf("/scopes/%d", i), "not_allowed")
		}
	}
	return []events.APIKeyEvent{events.APIKeyCreated{
		OwnerID: c.Owner, Name: c.Name, Scopes: c.Scopes, Hash: c.Hash, ExpiresAt: utc(c.ExpiresAt),
	}}, nil
}

func createServiceKey(k apiKey, c CreateServiceKey) ([]events.APIKeyEvent, error) {
	if !c.By.Admin {
		return nil, ErrNotFound
	}
	if err := checkNewKey(k, c.Name, c.Scopes, c.ExpiresAt, c.At); err != nil {
		return nil, err
	}
	return []events.APIKeyEvent{events.ServiceKeyCreated{
		CreatedBy: c.By.User, Name: c.Name, Scopes: c.Scopes, Hash: c.Hash, ExpiresAt: utc(c.ExpiresAt),
	}}, nil
}

// checkNewKey holds what both kinds have in common.
func checkNewKey(k apiKey, name string, scopes []string, expiresAt *time.Time, now time.Time) error {
	switch {
	case k.exists:
		return ErrAPIKeyExists
	case strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > maxKeyName:
		return at(ErrAPIKeyName, "/name", "invalid")
	case len(scopes) == 0 || len(scopes) > maxKeyScopes || len(slices.Compact(slices.Sorted(slices.Values(scopes)))) != len(scopes):
		return at(ErrAPIKeyScopes, "/scopes", "invalid")
	case expiresAt != nil && !expiresAt.After(now):
		return at(ErrAPIKeyExpiry, "/expires_at", "too_small")
	}
	return nil
}

func rotateAPIKey(k apiKey, c RotateAPIKey) ([]events.APIKeyEvent, error) {
	switch {
	case !k.exists || k.revoked || !k.ownedBy(c.By):
		return nil, ErrNotFound
	case k.expiresAt != nil && !k.expiresAt.After(c.At):
		return nil, ErrAPIKeyExpired
	case c.Overlap < 0 || c.Overlap > maxKeyOverlap:
		return nil, at(ErrAPIKeyOverlap, "/overlap_seconds", "too_large")
	}
	rotated := events.APIKeyRotated{OwnerID: k.owner, Hash: c.Hash, Generation: k.secret + 1, Least: k.secret + 1}
	if c.Overlap > 0 {
		until := c.At.Add(c.Overlap).UTC()
		rotated.Least, rotated.PreviousUntil = k.secret, &until
	}
	return []events.APIKeyEvent{rotated}, nil
}

func evolveAPIKey(k apiKey, event events.APIKeyEvent) apiKey {
	switch e := event.(type) {
	case events.APIKeyCreated:
		k.exists, k.owner, k.scopes, k.hash, k.secret, k.expiresAt = true, e.OwnerID, e.Scopes, e.Hash, 1, e.ExpiresAt
	case events.ServiceKeyCreated:
		k.exists, k.scopes, k.hash, k.secret, k.expiresAt = true, e.Scopes, e.Hash, 1, e.ExpiresAt
	case events.APIKeyRotated:
		k.previous, k.previousUntil = "", time.Time{}
		if e.PreviousUntil != nil {
			k.previous, k.previousUntil = k.hash, *e.PreviousUntil
		}
		k.hash, k.secret = e.Hash, e.Generation
	case events.APIKeyRevoked:
		k.revoked = true
	default:
		panic(fmt.Sprintf("API key: event %T not evolved", event))
	}
	return k
}

// utc is a time in the one zone that events are written in.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// KeyAccount is what checking an API key needs to know, read from the log and so never behind it.
type KeyAccount struct {
	Owner         Account // ID nil for a service key
	OwnerGone     bool    // it has an owner, who is disabled or gone
	Scopes        []string
	Hash          string // of the current secret
	Secret        int64  // its number, from 1
	Previous      string // hash of the one before, "" where that is not accepted
	PreviousUntil time.Time
	ExpiresAt     *time.Time // nil for never
	Revoked       bool
}

// APIKey returns an API key and its owner's account; ErrNotFound where there is no such key.
func (h *Handler) APIKey(ctx context.Context, id uuid.UUID) (KeyAccount, error) {
	k, _, err := APIKey.load(ctx, h.log, id)
	if err != nil {
		return KeyAccount{}, err
	}
	if !k.exists {
		return KeyAccount{}, ErrNotFound
	}
	account := KeyAccount{
		Scopes: k.scopes, Hash: k.hash, Secret: k.secret, Previous: k.previous, PreviousUntil: k.previousUntil,
		ExpiresAt: k.expiresAt, Revoked: k.revoked,
	}
	if k.owner == uuid.Nil {
		return account, nil
	}
	account.Owner, err = h.Account(ctx, k.owner)
	if errors.Is(err, ErrNotFound) {
		account.Owner, err = Account{ID: k.owner, Disabled: true}, nil
	}
	account.OwnerGone = account.Owner.Disabled
	return account, err
}
