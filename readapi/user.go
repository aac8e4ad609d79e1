package readapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// users registers the endpoints of users.
func (s *Server) users(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "read-me", Method: http.MethodGet, Path: "/v1/me", Tag: "Me",
		Summary: "Read who is signed in", Access: httpapi.SignedIn, Scope: "me:read", Errors: readFaults(),
	}, s.readMe)
}

type readMeRequest struct {
	httpapi.ReadAfter
	IfNoneMatch httpapi.IfNoneMatch `header:"If-None-Match"`
}

type me struct {
	Stale
	ETag string `header:"ETag"`
	Body struct {
		ID        uuid.UUID `json:"id"`
		Email     string    `json:"email"`
		Name      string    `json:"name"`
		Roles     []string  `json:"roles" nullable:"false"`
		Version   int64     `json:"version"`
		CreatedAt time.Time `json:"created_at"`
		UpdatedAt time.Time `json:"updated_at"`
	}
}

func (s *Server) readMe(ctx context.Context, in *readMeRequest) (*me, error) {
	if err := s.await(ctx, in.ReadAfter, projections.Users.ID()); err != nil {
		return nil, err
	}
	stale, err := s.stale(ctx, projections.Users.ID(), projections.Users.Key(projections.UserRow{ID: auth.User(ctx)}))
	if err != nil {
		return nil, err
	}
	row, err := s.Reader.User(ctx, auth.User(ctx))
	if err = stale.missing(err); errors.Is(err, projections.ErrNotFound) {
		row, err = s.newUser(ctx, in.ReadAfter)
	}
	if err != nil {
		return nil, err
	}
	out := &me{Stale: stale, ETag: httpapi.ETag(row.Version)}
	out.Body.ID, out.Body.Email, out.Body.Name, out.Body.Roles = row.ID, row.Email, row.Name, row.Roles
	out.Body.Version, out.Body.CreatedAt, out.Body.UpdatedAt = row.Version, row.CreatedAt, row.UpdatedAt
	return out, nil
}

// newUser waits for the row of a user who is signed in and so is in the log, though not yet in the table.
func (s *Server) newUser(ctx context.Context, after httpapi.ReadAfter) (row projections.UserRow, err error) {
	if after.MinPosition, err = s.Log.Newest(ctx); err != nil {
		return row, err
	}
	if err := s.await(ctx, after, projections.Users.ID()); err != nil {
		return row, err
	}
	return s.Reader.User(ctx, auth.User(ctx))
}
