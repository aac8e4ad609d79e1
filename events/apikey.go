package events

import (
	"time"

	"github.com/google/uuid"
)

// APIKeyEvent is the closed set of facts an API key's stream may hold.
type APIKeyEvent interface{ apikey() }

// APIKey lists the API key events in the order they happen. When a key was last used is not history: that lives in an
// operational table.
var APIKey = []Type{
	Define[APIKeyCreated]("apikey.created"),
	Define[ServiceKeyCreated]("apikey.service_created"),
	Define[APIKeyRotated]("apikey.rotated"),
	Define[APIKeyRevoked]("apikey.revoked"),
}

// APIKeyCreated starts the stream of a key that acts for a user and may do no more than that user.
type APIKeyCreated struct {
	OwnerID   uuid.UUID  `json:"owner_id"   pii:"subject"`
	Name      string     `json:"name"       pii:"seal"` // what the owner calls it
	Scopes    []string   `json:"scopes"`
	Hash      string     `json:"hash"       pii:"inside"` // SHA-256 of the key, in base64; the key has 256 random bits, so that tells nothing
	ExpiresAt *time.Time `json:"expires_at"`              // null for never
}

// ServiceKeyCreated starts the stream of a key that acts for no user. It belongs to the installation, not to the admin
// who made it, and so does its name.
type ServiceKeyCreated struct {
	CreatedBy uuid.UUID  `json:"created_by"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Hash      string     `json:"hash" pii:"inside"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// APIKeyRotated gives the key another secret. The secrets are numbered from 1; those below Least are refused from now
// on, the one before the new one only from PreviousUntil on.
type APIKeyRotated struct {
	OwnerID       uuid.UUID  `json:"owner_id" pii:"subject"` // nil for a service key
	Hash          string     `json:"hash"     pii:"inside"`
	Generation    int64      `json:"generation"`     // the number of the new secret
	Least         int64      `json:"least"`          // the lowest number that is still accepted
	PreviousUntil *time.Time `json:"previous_until"` // null where the one before ended at once
}

// APIKeyRevoked ends the key for good.
type APIKeyRevoked struct {
	OwnerID uuid.UUID `json:"owner_id" pii:"subject"` // nil for a service key
}

func (APIKeyCreated) apikey()     {}
func (ServiceKeyCreated) apikey() {}
func (APIKeyRotated) apikey()     {}
func (APIKeyRevoked) apikey()     {}

// CutOff implements Revoking.
func (e APIKeyRotated) CutOff() CutOff { return CutOff{Of: OfAPIKey, Epoch: e.Least} }

// CutOff implements Revoking.
func (APIKeyRevoked) CutOff() CutOff { return CutOff{Of: OfAPIKey, Epoch: Ended} }
