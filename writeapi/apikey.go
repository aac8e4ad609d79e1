package writeapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// apiKeys registers the endpoints of API keys: users' own under /v1/me, and service keys under /v1/admin. A key is shown
// in the answer that makes it and nowhere else, so those answers are not replayed: a retry makes another key.
func (s *Server) apiKeys(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "create-api-key", Method: http.MethodPost, Path: "/v1/me/api-keys", Tag: "API keys",
		Summary:     "Make an API key that acts for you",
		Description: "The key is in this answer only. It may do what its scopes name, and never more than you may.",
		Access:      httpapi.SignedIn, StepUp: true, NoReplay: true, Status: http.StatusCreated, MaxBody: 16 << 10,
		Errors: append(newKeyFaults(), commands.ErrAPIKeyScope),
	}, func(ctx context.Context, in *createKeyRequest) (*newKey, error) { return s.createAPIKey(ctx, api, in) })
	httpapi.Register(api, httpapi.Operation{
		ID: "rotate-api-key", Method: http.MethodPost, Path: "/v1/me/api-keys/{id}/rotate", Tag: "API keys",
		Summary: "Give an API key of yours another secret", Description: rotateDescription,
		Access: httpapi.Owner, StepUp: true, NoReplay: true, MaxBody: 16 << 10, Errors: rotateKeyFaults(),
	}, func(ctx context.Context, in *rotateKeyRequest) (*newKey, error) {
		return s.rotateAPIKey(ctx, in, commands.Actor{User: auth.User(ctx)}, ownKeys)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "revoke-api-key", Method: http.MethodDelete, Path: "/v1/me/api-keys/{id}", Tag: "API keys",
		Summary: "Revoke an API key of yours: it is refused from now on", Access: httpapi.Owner, Errors: writeFaults(),
	}, func(ctx context.Context, in *keyRequest) (*removed, error) {
		return s.revokeAPIKey(ctx, in, commands.Actor{User: auth.User(ctx)})
	})

	httpapi.Register(api, httpapi.Operation{
		ID: "create-service-key", Method: http.MethodPost, Path: "/v1/admin/api-keys", Tag: "Administration",
		Summary:     "Make an API key that acts for no user",
		Description: "The key is in this answer only. It may do what its scopes name.",
		Access:      httpapi.Admin, StepUp: true, NoReplay: true, Status: http.StatusCreated, MaxBody: 16 << 10,
		Errors: newKeyFaults(),
	}, func(ctx context.Context, in *createKeyRequest) (*newKey, error) {
		return s.createServiceKey(ctx, api, in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "rotate-service-key", Method: http.MethodPost, Path: "/v1/admin/api-keys/{id}/rotate", Tag: "Administration",
		Summary: "Give a service key another secret", Description: rotateDescription,
		Access: httpapi.Admin, StepUp: true, NoReplay: true, MaxBody: 16 << 10, Errors: rotateKeyFaults(),
	}, func(ctx context.Context, in *rotateKeyRequest) (*newKey, error) {
		return s.rotateAPIKey(ctx, in, actor(ctx), serviceKeys)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "revoke-any-api-key", Method: http.MethodDelete, Path: "/v1/admin/api-keys/{id}", Tag: "Administration",
		Summary: "Revoke an API key, a service's or any user's: it is refused from now on",
		Access:  httpapi.Admin, StepUp: true, Errors: writeFaults(),
	}, func(ctx context.Context, in *keyRequest) (*removed, error) {
		return s.revokeAPIKey(ctx, in, actor(ctx))
	})
}

const rotateDescription = "The new key is in this answer only. The old secret ends at once, unless `overlap_seconds` lets it go on " +
	"for a while; secrets before that one end in any case."

// Where keys are found.
const (
	ownKeys     = "/v1/me/api-keys/"
	serviceKeys = "/v1/admin/api-keys/"
)

func newKeyFaults() []*fault.Fault {
	return append(writeFaults(), commands.ErrAPIKeyName, commands.ErrAPIKeyScopes, commands.ErrAPIKeyExpiry)
}

func rotateKeyFaults() []*fault.Fault {
	return append(writeFaults(), commands.ErrAPIKeyExpired, commands.ErrAPIKeyOverlap)
}

type createKeyRequest struct {
	Body struct {
		Name      string     `json:"name" minLength:"1" maxLength:"100" doc:"What you call it"`
		Scopes    []string   `json:"scopes" minItems:"1" maxItems:"50" maxLength:"100" nullable:"false" doc:"What it may do; every operation names the scope it asks for"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" nullable:"true" doc:"When it ends; null for never"`
	}
}

// newKey is the one answer that shows a key.
type newKey struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Position string `header:"Atlas-Position"`
	Body     struct {
		ID       uuid.UUID `json:"id"`
		Key      string    `json:"key" doc:"Send it as a bearer token. It is not shown again."`
		Version  int64     `json:"version"`
		Position int64     `json:"position" doc:"Send it as Atlas-Min-Position to read what was written"`
	}
}

func (s *Server) createAPIKey(ctx context.Context, api *httpapi.API, in *createKeyRequest) (*newKey, error) {
	if err := checkScopes(in.Body.Scopes, api.Scopes()); err != nil {
		return nil, err
	}
	id := newID()
	key, b := auth.NewAPIKey(id), in.Body
	return s.giveKey(ctx, id, key, ownKeys, commands.CreateAPIKey{
		Owner: auth.User(ctx), Name: b.Name, Scopes: b.Scopes, Hash: auth.HashAPIKey(key), ExpiresAt: b.ExpiresAt, At: s.Clock(),
	})
}

func (s *Server) createServiceKey(ctx context.Context, api *httpapi.API, in *createKeyRequest) (*newKey, error) {
	if err := checkScopes(in.Body.Scopes, api.Scopes()); err != nil {
		return nil, err
	}
	id := newID()
	key, b := auth.NewAPIKey(id), in.Body
	return s.giveKey(ctx, id, key, serviceKeys, commands.CreateServiceKey{
		By: actor(ctx), Name: b.Name, Scopes: b.Scopes, Hash: auth.HashAPIKey(key), ExpiresAt: b.ExpiresAt, At: s.Clock(),
	})
}

// checkScopes holds that every scope is one that some operation asks for, or one that is reserved for services: a
// misspelt one would be a key that is refused where nobody expects it.
func checkScopes(asked, declared []string) error {
	known := slices.Concat(declared, commands.ServiceScopes())
	slices.Sort(known)
	known = slices.Compact(known)
	var fields []fault.Field
	for i, scope := range asked {
		if !slices.Contains(known, scope) {
			fields = append(fields, fault.Field{
				Pointer: fmt.Sprintf("/scopes/%d", i), Code: "not_allowed", Message: "must be one of " + strings.Join(known, " "),
			})
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return fault.ErrValidation.At(fields...)
}

type rotateKeyRequest struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Overlap int `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the old secret goes on; 0 ends it at once"`
	}
}

func (s *Server) rotateAPIKey(ctx context.Context, in *rotateKeyRequest, by commands.Actor, where string) (*newKey, error) {
	key := auth.NewAPIKey(in.ID)
	return s.giveKey(ctx, in.ID, key, where, commands.RotateAPIKey{
		By: by, Hash: auth.HashAPIKey(key), Overlap: time.Duration(in.Body.Overlap) * time.Second, At: s.Clock(),
	})
}

// giveKey carries out the command that makes the key, and shows it.
func (s *Server) giveKey(ctx context.Context, id uuid.UUID, key auth.Secret, where string, command commands.APIKeyCommand) (*newKey, error) {
	o, err := s.handle(ctx, commands.APIKey.On(id, command), httpapi.IfMatch{})
	if err != nil {
		return nil, err
	}
	w := answer(o, commands.APIKey.Category)
	k := &newKey{ETag: w.ETag, Position: w.Position, Location: where + id.String()}
	k.Body.ID, k.Body.Key, k.Body.Version, k.Body.Position = id, key.Reveal(), w.Body.Version, w.Body.Position
	return k, nil
}

type keyRequest struct {
	ID uuid.UUID `path:"id"`
}

func (s *Server) revokeAPIKey(ctx context.Context, in *keyRequest, by commands.Actor) (*removed, error) {
	o, err := s.handle(ctx, commands.APIKey.On(in.ID, commands.RevokeAPIKey{By: by}), httpapi.IfMatch{})
	if err != nil {
		return nil, err
	}
	return &removed{Position: position(o), Replayed: replayed(o)}, nil
}

// KeyAccounts reads API keys from the log.
type KeyAccounts interface {
	APIKey(ctx context.Context, id uuid.UUID) (commands.KeyAccount, error)
}

// KeyTruth returns what checks API keys, told in the words of auth.
func KeyTruth(log KeyAccounts) auth.KeyTruth { return keyTruth{log} }

type keyTruth struct{ log KeyAccounts }

// APIKey implements auth.KeyTruth.
func (t keyTruth) APIKey(ctx context.Context, id uuid.UUID) (auth.KeyRecord, error) {
	k, err := t.log.APIKey(ctx, id)
	if err != nil {
		return auth.KeyRecord{}, err
	}
	r := auth.KeyRecord{
		Owner: k.Owner.ID, Epoch: k.Owner.Epoch, Roles: k.Owner.Roles, OwnerDisabled: k.OwnerGone, Scopes: k.Scopes,
		Hash: k.Hash, Secret: k.Secret, Previous: k.Previous, PreviousUntil: k.PreviousUntil, Revoked: k.Revoked,
	}
	if k.ExpiresAt != nil {
		r.ExpiresAt = *k.ExpiresAt
	}
	return r, nil
}
