package readapi

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/readapi/feed"
)

// Log tells the past.
type Log interface {
	Load(ctx context.Context, stream eventstore.Stream, from int64) ([]*eventstore.Recorded, error)
	End(ctx context.Context) (int64, error)
	Newest(ctx context.Context) (int64, error)
	Horizon(ctx context.Context) (int64, error)
	Standing(ctx context.Context) (eventstore.Standing, error)
	ReadAll(ctx context.Context, after, upto int64, f eventstore.Filter, limit int) (eventstore.Batch, error)
	Names() (types, categories []string)
}

// Waiter waits until read tables have come to a position.
type Waiter interface {
	Wait(ctx context.Context, position int64, ids ...engine.ID) error
	Parked(ctx context.Context, id engine.ID) (bool, error)
}

// KeyUses tells when API keys were last used.
type KeyUses interface {
	LastUses(ctx context.Context, keys []uuid.UUID) (map[uuid.UUID]time.Time, error)
}

// Server holds the query endpoints. All fields must be set.
type Server struct {
	Reader   *projections.Reader
	Log      Log
	Waiter   Waiter
	Workshop Workshop
	Desk     Desk
	Limits   Limits
	Failures Failures
	Uses     KeyUses
	Feeds    *feed.Feeds
	Audit    *slog.Logger // is told who reads personal data of others

	Subscriptions *subscription.Log

	EmailKey []byte // keys the hash under which an address is reserved
	Clock    func() time.Time
}

// Routes registers every query endpoint. A new aggregate adds its line here.
func (s *Server) Routes(api *httpapi.API) {
	s.users(api)
	s.limitations(api)
	s.failedSignIns(api)
	s.userAdministration(api, api.Cursors())
	s.apiKeys(api, api.Cursors())
	s.sessions(api, api.Cursors())
	s.documents(api, api.Cursors())
	s.documentStatistics(api)
	s.projections(api)
	s.parked(api, api.Cursors())
	s.subscriptions(api, api.Cursors())
	s.events(api, api.Cursors())
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

// Stale tells the caller that what it reads lacks an event that could not be folded. Embed it in the output of a GET.
type Stale struct {
	Stale string `header:"Atlas-Stale" doc:"true where an event about this could not be taken into the view; it is kept and tried again"`
}

// stale says whether what the caller is about to read lacks an event: the row with the key or, where it is empty, any of
// the caller's. It is asked before the row is read, so that a row that lacks one is not read without notice.
func (s *Server) stale(ctx context.Context, view engine.ID, key string) (Stale, error) {
	parked, err := s.Waiter.Parked(ctx, view)
	if err == nil && parked {
		parked, err = s.Reader.Parked(ctx, view, key, auth.User(ctx))
	}
	if err != nil || !parked {
		return Stale{}, err
	}
	return Stale{Stale: "true"}, nil
}

// missing is ErrParked instead of ErrNotFound where an event is what is missing.
func (st Stale) missing(err error) error {
	if st.Stale != "" && errors.Is(err, projections.ErrNotFound) {
		return projections.ErrParked
	}
	return err
}

// readFaults is what any read may meet.
func readFaults() []*fault.Fault {
	return []*fault.Fault{projections.ErrNotFound, projections.ErrParked, engine.ErrLagging, eventstore.ErrFuture, eventstore.ErrUnavailable}
}
