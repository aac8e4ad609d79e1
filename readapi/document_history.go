package readapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
)

// documentAsOf folds the document's events up to a point of the past into the row that the table held then. It reads the
// log, so it needs to wait for nothing.
func (s *Server) documentAsOf(ctx context.Context, in *readDocumentRequest) (row projections.DocumentRow, err error) {
	if err := s.checkAsOf(ctx, in.AsOf, in.Wait()); err != nil {
		return row, err
	}
	recorded, err := s.Log.Load(ctx, eventstore.NewStream("document", in.ID), 1)
	if err != nil {
		return row, err
	}
	row, found, err := projections.Documents.Fold(in.AsOf.until(recorded))
	if err == nil && (!found || row.OwnerID != auth.User(ctx)) {
		err = projections.ErrNotFound
	}
	return row, err
}

type documentHistoryRequest struct {
	httpapi.ReadAfter
	httpapi.Paging
	ID uuid.UUID `path:"id"`
}

type documentHistory struct {
	Stale
	Body httpapi.Page[documentChange]
}

type documentChange struct {
	Position int64          `json:"position"`
	Version  int64          `json:"version"`
	Type     string         `json:"type"`
	At       time.Time      `json:"at"`
	ActorID  *uuid.UUID     `json:"actor_id" nullable:"true" doc:"Who did it; null where nobody was signed in"`
	Changes  map[string]any `json:"changes" doc:"New values; of the body only its size, body_bytes. Read the body with as_of."`
}

func (s *Server) documentHistory(ctx context.Context, cursors httpapi.Cursors, in *documentHistoryRequest) (*documentHistory, error) {
	owner, after := auth.User(ctx), int64(0)
	purpose := "document-history/" + owner.String() + "/" + in.ID.String()
	if in.Cursor != "" {
		var err error
		if after, err = httpapi.DecodeCursor[int64](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, in.ReadAfter, projections.DocumentHistory.ID()); err != nil {
		return nil, err
	}
	stale, err := s.stale(ctx, projections.DocumentHistory.ID(), "")
	if err != nil {
		return nil, err
	}
	rows, err := s.Reader.DocumentHistory(ctx, owner, in.ID, after, in.Limit+1)
	if err != nil {
		return nil, stale.missing(err)
	}
	changes := make([]documentChange, len(rows))
	for i, r := range rows {
		changes[i] = documentChange{Position: r.Position, Version: r.Version, Type: r.Type, At: r.At, ActorID: r.ActorID, Changes: r.Changes}
	}
	next := func(last documentChange) string { return httpapi.EncodeCursor(cursors, purpose, last.Version) }
	return &documentHistory{Stale: stale, Body: httpapi.NewPage(changes, in.Limit, next)}, nil
}
