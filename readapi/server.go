package readapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Users answers questions about users.
type Users interface {
	User(ctx context.Context, id uuid.UUID) (projections.UserRow, error)
}

// Documents answers questions about documents, to their owners.
type Documents interface {
	Document(ctx context.Context, owner, id uuid.UUID) (projections.DocumentRow, error)
	DocumentsOf(ctx context.Context, owner uuid.UUID, status string, before uuid.UUID, limit int) ([]projections.DocumentRow, error)
	DocumentHistory(ctx context.Context, owner, id uuid.UUID, after int64, limit int) ([]projections.DocumentChange, error)
}

// Log tells the past.
type Log interface {
	Load(ctx context.Context, stream eventstore.Stream, from int64) ([]*eventstore.Recorded, error)
	End(ctx context.Context) (int64, error)
}

// Waiter waits until read tables have come to a position.
type Waiter interface {
	Wait(ctx context.Context, position int64, ids ...engine.ID) error
}

// Server holds the query endpoints. All fields must be set.
type Server struct {
	Users     Users
	Documents Documents
	Log       Log
	Waiter    Waiter
	Clock     func() time.Time
}

// Routes registers every query endpoint. A new aggregate adds its line here.
func (s *Server) Routes(api *httpapi.API) {
	s.users(api)
	s.documents(api, api.Cursors())
}

// await waits until the tables that a read uses are as new as the caller asks, or the time the caller gives has passed.
func (s *Server) await(ctx context.Context, after httpapi.ReadAfter, ids ...engine.ID) error {
	if after.MinPosition == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, after.Wait())
	defer cancel()
	return s.Waiter.Wait(ctx, after.MinPosition, ids...)
}

// readFaults is what any read may meet.
func readFaults() []*fault.Fault {
	return []*fault.Fault{projections.ErrNotFound, engine.ErrLagging, eventstore.ErrFuture, eventstore.ErrUnavailable}
}
