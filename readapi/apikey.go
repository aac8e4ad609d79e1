package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// apiKeys registers the endpoints that show API keys: users' own, and, to admins, those of services.
func (s *Server) apiKeys(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-api-keys", Method: http.MethodGet, Path: "/v1/me/api-keys", Tag: "API keys",
		Summary: "List your API keys, newest first", Access: httpapi.Owner, Errors: readFaults(),
	}, func(ctx context.Context, in *listKeysRequest) (*keyList, error) {
		return s.listAPIKeys(ctx, cursors, auth.User(ctx), in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "read-api-key", Method: http.MethodGet, Path: "/v1/me/api-keys/{id}", Tag: "API keys",
		Summary: "Read what is known of an API key of yours", Access: httpapi.Owner, Errors: readFaults(),
	}, func(ctx context.Context, in *readKeyRequest) (*apiKey, error) {
		return s.readAPIKey(ctx, auth.User(ctx), in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "list-service-keys", Method: http.MethodGet, Path: "/v1/admin/api-keys", Tag: "Administration",
		Summary: "List the service keys, newest first", Access: httpapi.Admin, Errors: readFaults(),
	}, func(ctx context.Context, in *listKeysRequest) (*keyList, error) {
		return s.listAPIKeys(ctx, cursors, uuid.Nil, in) // nobody owns those
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "read-service-key", Method: http.MethodGet, Path: "/v1/admin/api-keys/{id}", Tag: "Administration",
		Summary: "Read what is known of a service key", Access: httpapi.Admin, Errors: readFaults(),
	}, func(ctx context.Context, in *readKeyRequest) (*apiKey, error) {
		return s.readAPIKey(ctx, uuid.Nil, in) // nobody owns those
	})
}

// APIKeySummary is an API key without its secret, which is kept nowhere. It is exported for the schema.
type APIKeySummary struct {
	ID            uuid.UUID  `json:"id"`
	Name          string     `json:"name"`
	Scopes        []string   `json:"scopes" nullable:"false"`
	CreatedBy     uuid.UUID  `json:"created_by"`
	ExpiresAt     *time.Time `json:"expires_at" nullable:"true" doc:"null for never"`
	PreviousUntil *time.Time `json:"previous_until" nullable:"true" doc:"Until when the secret before the current one is accepted"`
	RotatedAt     *time.Time `json:"rotated_at" nullable:"true"`
	LastUsedAt    *time.Time `json:"last_used_at" nullable:"true" doc:"Up to ten seconds behind"`
	Version       int64      `json:"version"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// summaries adds to the rows when the keys were last used.
func (s *Server) summaries(ctx context.Context, rows []projections.APIKeyRow) ([]APIKeySummary, error) {
	ids := make([]uuid.UUID, len(rows))
	for i, k := range rows {
		ids[i] = k.ID
	}
	uses, err := s.Uses.LastUses(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]APIKeySummary, len(rows))
	for i, k := range rows {
		all[i] = APIKeySummary{
			ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedBy: k.CreatedBy, ExpiresAt: k.ExpiresAt, PreviousUntil: k.PreviousUntil,
			RotatedAt: k.RotatedAt, Version: k.Version, CreatedAt: k.CreatedAt, UpdatedAt: k.UpdatedAt,
		}
		if used, ever := uses[k.ID]; ever {
			all[i].LastUsedAt = &used
		}
	}
	return all, nil
}

type listKeysRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
}

type keyList struct {
	Body httpapi.Page[APIKeySummary]
}

func (s *Server) listAPIKeys(ctx context.Context, cursors httpapi.Cursors, owner uuid.UUID, in *listKeysRequest) (*keyList, error) {
	before, purpose := uuid.Nil, "api-keys/"+owner.String()
	if in.Cursor != "" {
		var err error
		if before, err = httpapi.DecodeCursor[uuid.UUID](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, in.ReadAfter, projections.APIKeys.ID()); err != nil {
		return nil, err
	}
	rows, err := s.Reader.APIKeysOf(ctx, owner, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	all, err := s.summaries(ctx, rows)
	if err != nil {
		return nil, err
	}
	next := func(last APIKeySummary) string { return httpapi.EncodeCursor(cursors, purpose, last.ID) }
	return &keyList{Body: httpapi.NewPage(all, in.Limit, next)}, nil
}

type readKeyRequest struct {
	httpapi.ReadAfter
	ID uuid.UUID `path:"id"`
}

// apiKey has no entity tag: that a key was used changes what is shown, and no version.
type apiKey struct {
	Body APIKeySummary
}

func (s *Server) readAPIKey(ctx context.Context, owner uuid.UUID, in *readKeyRequest) (*apiKey, error) {
	if err := s.await(ctx, in.ReadAfter, projections.APIKeys.ID()); err != nil {
		return nil, err
	}
	row, err := s.Reader.APIKey(ctx, owner, in.ID)
	if err != nil {
		return nil, err
	}
	all, err := s.summaries(ctx, []projections.APIKeyRow{row})
	if err != nil {
		return nil, err
	}
	return &apiKey{Body: all[0]}, nil
}
