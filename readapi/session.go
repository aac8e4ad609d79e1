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

// sessions registers the endpoints of sessions.
func (s *Server) sessions(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-sessions", Method: http.MethodGet, Path: "/v1/auth/sessions", Tag: "Sign in",
		Summary: "List your sessions, newest first", Access: httpapi.SignedIn, Errors: readFaults(),
	}, func(ctx context.Context, in *listSessionsRequest) (*sessionList, error) {
		return s.listSessions(ctx, cursors, in)
	})
}

type listSessionsRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
}

type sessionList struct {
	Body httpapi.Page[SessionSummary]
}

// SessionSummary is one sign-in that stands.
type SessionSummary struct {
	ID        uuid.UUID `json:"id"`
	Current   bool      `json:"current" doc:"The one this request belongs to"`
	Address   string    `json:"address" doc:"Where the sign-in came from"`
	UserAgent string    `json:"user_agent"`
	StartedAt time.Time `json:"started_at"`
	ExpiresAt time.Time `json:"expires_at" doc:"At the latest; a session that is not refreshed for 30 days ends earlier"`
}

func (s *Server) listSessions(ctx context.Context, cursors httpapi.Cursors, in *listSessionsRequest) (*sessionList, error) {
	p, _ := auth.PrincipalFrom(ctx)
	purpose, before := "sessions/"+p.User.String(), uuid.Nil
	if in.Cursor != "" {
		var err error
		if before, err = httpapi.DecodeCursor[uuid.UUID](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, in.ReadAfter, projections.Sessions.ID(), projections.Users.ID()); err != nil {
		return nil, err
	}
	rows, err := s.Reader.SessionsOf(ctx, p.User, s.Clock().Add(-auth.RefreshLifetime), p.Shared, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	summaries := make([]SessionSummary, len(rows))
	for i, row := range rows {
		summaries[i] = SessionSummary{
			ID: row.ID, Current: row.ID == p.Session, Address: row.Address, UserAgent: row.UserAgent,
			StartedAt: row.StartedAt, ExpiresAt: row.StartedAt.Add(auth.RefreshLifetime),
		}
	}
	next := func(last SessionSummary) string { return httpapi.EncodeCursor(cursors, purpose, last.ID) }
	return &sessionList{Body: httpapi.NewPage(summaries, in.Limit, next)}, nil
}
