package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// documentStatistics registers what tells users of their documents as a whole.
func (s *Server) documentStatistics(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "read-document-statistics", Method: http.MethodGet, Path: "/v1/me/documents/statistics", Tag: "Documents",
		Summary: "Read how many documents you have, and how large they are",
		Access:  httpapi.Owner, Scope: "documents:read", Errors: readFaults(),
	}, s.readDocumentStatistics)
}

type documentStatisticsRequest struct {
	httpapi.ReadAfter
}

type documentStatistics struct {
	Stale
	Body struct {
		Active    int64      `json:"active" doc:"Documents that are not archived"`
		Archived  int64      `json:"archived"`
		BodyBytes int64      `json:"body_bytes" doc:"Of all bodies together, in UTF-8, those of archived documents included"`
		ChangedAt *time.Time `json:"changed_at" nullable:"true" doc:"When one of them was last changed or deleted; null where there never was one"`
	}
}

func (s *Server) readDocumentStatistics(ctx context.Context, in *documentStatisticsRequest) (*documentStatistics, error) {
	if err := s.await(ctx, in.ReadAfter, projections.DocumentStatistics.ID()); err != nil {
		return nil, err
	}
	stale, err := s.stale(ctx, projections.DocumentStatistics.ID(), "")
	if err != nil {
		return nil, err
	}
	totals, err := s.Reader.DocumentTotals(ctx, auth.User(ctx))
	if err != nil {
		return nil, err
	}
	out := &documentStatistics{Stale: stale}
	out.Body.Active, out.Body.Archived, out.Body.BodyBytes, out.Body.ChangedAt = totals.Active, totals.Archived, totals.BodyBytes, totals.ChangedAt
	return out, nil
}
