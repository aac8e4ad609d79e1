package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

const apiKeysTable = `
	CREATE TABLE {table} (
		id             uuid        PRIMARY KEY,
		owner_id       uuid        NOT NULL,
		created_by     uuid        NOT NULL,
		name           text        NOT NULL,
		scopes         text[]      NOT NULL,
		expires_at     timestamptz,
		previous_until timestamptz,
		rotated_at     timestamptz,
		version        bigint      NOT NULL,
		created_at     timestamptz NOT NULL,
		updated_at     timestamptz NOT NULL
	);
	CREATE INDEX ON {table} (owner_id, id DESC);`

// APIKeyRow is an API key as the APIs show it: all but its secret.
type APIKeyRow struct {
	ID            uuid.UUID  `json:"id" row:"key"`
	OwnerID       uuid.UUID  `json:"owner_id" row:"subject"` // nil for a service key
	CreatedBy     uuid.UUID  `json:"created_by"`
	Name          string     `json:"name"`
	Scopes        []string   `json:"scopes"`
	ExpiresAt     *time.Time `json:"expires_at"`     // nil for never
	PreviousUntil *time.Time `json:"previous_until"` // until when the secret before this one is accepted
	RotatedAt     *time.Time `json:"rotated_at"`
	Version       int64      `json:"version"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// APIKeys keeps one row per API key that is not revoked, users' and services'.
var APIKeys = engine.Define[APIKeyRow]("api_keys", 1, apiKeysTable,
	engine.Create(func(k *APIKeyRow, e engine.Recorded[events.APIKeyCreated]) {
		k.OwnerID, k.CreatedBy, k.Name, k.Scopes = e.Event.OwnerID, e.Event.OwnerID, e.Event.Name, list(e.Event.Scopes)
		k.ExpiresAt, k.CreatedAt = e.Event.ExpiresAt, e.At
	}),
	engine.Create(func(k *APIKeyRow, e engine.Recorded[events.ServiceKeyCreated]) {
		k.CreatedBy, k.Name, k.Scopes = e.Event.CreatedBy, e.Event.Name, list(e.Event.Scopes)
		k.ExpiresAt, k.CreatedAt = e.Event.ExpiresAt, e.At
	}),
	engine.Change(func(k *APIKeyRow, e engine.Recorded[events.APIKeyRotated]) {
		at := e.At
		k.PreviousUntil, k.RotatedAt = e.Event.PreviousUntil, &at
	}),
	engine.Delete[events.APIKeyRevoked](),
).Always(func(k *APIKeyRow, e *eventstore.Recorded) { k.Version, k.UpdatedAt = e.Version, e.At })

const apiKeyColumns = `id, owner_id, created_by, name, scopes, expires_at, previous_until, rotated_at, version, created_at, updated_at`

// APIKey returns one of the owner's API keys; the nil UUID owns those of services.
func (r *Reader) APIKey(ctx context.Context, owner, id uuid.UUID) (APIKeyRow, error) {
	q := `
		SELECT ` + apiKeyColumns + `
		FROM ` + APIKeys.Table() + `
		WHERE id = $1 AND owner_id = $2`
	row, err := one[APIKeyRow](ctx, r.pool, q, id, owner)
	if err != nil {
		return row, fmt.Errorf("API key %s: %w", id, err)
	}
	return row, nil
}

// APIKeysOf returns up to limit of the owner's API keys, newest first, after the one with the id before, the nil UUID for
// the first page. The nil UUID owns those of services.
func (r *Reader) APIKeysOf(ctx context.Context, owner, before uuid.UUID, limit int) ([]APIKeyRow, error) {
	q := `
		SELECT ` + apiKeyColumns + `
		FROM ` + APIKeys.Table() + `
		WHERE owner_id = $1 AND ($2 = '00000000-0000-0000-0000-000000000000'::uuid OR id < $2)
		ORDER BY id DESC
		LIMIT $3`
	rows, err := many[APIKeyRow](ctx, r.pool, q, owner, before, limit)
	if err != nil {
		return nil, fmt.Errorf("API keys of %s: %w", owner, err)
	}
	return rows, nil
}
