package readapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// subscriptions registers the endpoints that show subscriptions. A service key sees its own, an admin all, those of Atlas's
// own workers among them.
func (s *Server) subscriptions(api *httpapi.API, cursors httpapi.Cursors) {
	const scope = "subscriptions:use"
	httpapi.Register(api, httpapi.Operation{
		ID: "list-subscriptions", Method: http.MethodGet, Path: "/v1/subscriptions", Tag: "Subscriptions",
		Summary: "List your subscriptions, and how they are doing", Description: "An admin sees everybody's.",
		Access: httpapi.Admin, Scope: scope, Errors: []*fault.Fault{eventstore.ErrUnavailable},
	}, func(ctx context.Context, in *listSubscriptionsRequest) (*subscriptionList, error) {
		return s.listSubscriptions(ctx, cursors, in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "get-subscription", Method: http.MethodGet, Path: "/v1/subscriptions/{name}", Tag: "Subscriptions",
		Summary: "See how a subscription is doing",
		Access:  httpapi.Admin, Scope: scope, Errors: []*fault.Fault{subscription.ErrNotFound, eventstore.ErrUnavailable},
	}, s.getSubscription)
	httpapi.Register(api, httpapi.Operation{
		ID: "list-parked-messages", Method: http.MethodGet, Path: "/v1/subscriptions/{name}/parked", Tag: "Subscriptions",
		Summary: "List the messages that failed for good", Description: "In the order of the log.",
		Access: httpapi.Admin, Scope: scope, Errors: []*fault.Fault{subscription.ErrNotFound, eventstore.ErrUnavailable},
	}, func(ctx context.Context, in *listDeadLettersRequest) (*deadLetterList, error) {
		return s.listDeadLetters(ctx, cursors, in)
	})
}

// Subscription is a subscription, and how it is doing.
type Subscription struct {
	Name       string     `json:"name"`
	OwnerID    *uuid.UUID `json:"owner_id" nullable:"true" doc:"The key, or the admin, that made it; null for a worker of Atlas itself"`
	Categories []string   `json:"categories" nullable:"false" doc:"Of streams; all where there is none"`
	Types      []string   `json:"types" nullable:"false" doc:"Of events; all where there is none"`
	Replays    bool       `json:"replays"`
	Position   int64      `json:"position" doc:"How far the log was taken in: what lies before is done, waiting or parked"`
	Lag        int64      `json:"lag" doc:"Positions between it and the newest event"`
	LagSeconds float64    `json:"lag_seconds" doc:"How long the first event behind it has been there"`
	Waiting    int        `json:"waiting" doc:"Streams with messages that are not done"`
	Failing    int        `json:"failing" doc:"Those of them whose next message failed"`
	Leased     int        `json:"leased" doc:"Messages that are worked on"`
	Parked     int        `json:"parked" doc:"Messages that failed for good"`
	Full       bool       `json:"full" doc:"So many streams wait that the log is read no further"`
	CreatedAt  time.Time  `json:"created_at"`
	ResetAt    *time.Time `json:"reset_at"`
}

// shown returns subscriptions as they are shown, in the order of their names.
func (s *Server) shown(ctx context.Context, names []string) ([]Subscription, error) {
	if len(names) == 0 {
		return nil, nil
	}
	all, err := s.Subscriptions.List(ctx, names...)
	if err != nil {
		return nil, err
	}
	shown := make([]Subscription, len(all))
	for i, one := range all {
		shown[i] = Subscription{
			Name: one.Name, OwnerID: one.Owner, Categories: one.Filter.Categories, Types: one.Filter.Types, Replays: one.Replays,
			Position: one.Position, Lag: one.Lag, LagSeconds: one.LagTime.Seconds(), Waiting: one.Held, Failing: one.Failing,
			Leased: one.Leased, Parked: one.Parked, Full: one.Full, CreatedAt: one.CreatedAt.UTC(), ResetAt: one.ResetAt,
		}
	}
	return shown, nil
}

type listSubscriptionsRequest struct {
	httpapi.Paging
}

type subscriptionList struct {
	Body httpapi.Page[Subscription]
}

func (s *Server) listSubscriptions(ctx context.Context, cursors httpapi.Cursors, in *listSubscriptionsRequest) (*subscriptionList, error) {
	const purpose = "subscriptions"
	after := ""
	if in.Cursor != "" {
		var err error
		if after, err = httpapi.DecodeCursor[string](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	names, err := s.Subscriptions.QueueNames(ctx, auth.Service(ctx), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	all, err := s.shown(ctx, names)
	if err != nil {
		return nil, err
	}
	next := func(last Subscription) string { return httpapi.EncodeCursor(cursors, purpose, last.Name) }
	return &subscriptionList{Body: httpapi.NewPage(all, in.Limit, next)}, nil
}

type getSubscriptionRequest struct{ httpapi.SubscriptionName }

type subscriptionAnswer struct {
	Body Subscription
}

func (s *Server) getSubscription(ctx context.Context, in *getSubscriptionRequest) (*subscriptionAnswer, error) {
	if err := s.Subscriptions.Sees(ctx, in.Name, auth.Service(ctx)); err != nil {
		return nil, err
	}
	all, err := s.shown(ctx, []string{in.Name})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, subscription.ErrNotFound
	}
	return &subscriptionAnswer{Body: all[0]}, nil
}

type listDeadLettersRequest struct {
	httpapi.Paging
	httpapi.SubscriptionName
}

// DeadLetter is a message that failed for good.
type DeadLetter struct {
	ID       int64      `json:"id" doc:"By which it is retried or discarded: its event's position"`
	EventID  uuid.UUID  `json:"event_id"`
	Stream   string     `json:"stream"`
	Version  int64      `json:"version"`
	Type     string     `json:"type"`
	Attempts int        `json:"attempts"`
	Error    string     `json:"error"`
	ParkedAt time.Time  `json:"parked_at"`
	RetryAt  *time.Time `json:"retry_at" doc:"Since when it is to be tried again; null where it is not"`
}

type deadLetterList struct {
	Body httpapi.Page[DeadLetter]
}

func (s *Server) listDeadLetters(ctx context.Context, cursors httpapi.Cursors, in *listDeadLettersRequest) (*deadLetterList, error) {
	after, purpose := int64(0), "dead letters/"+in.Name
	if in.Cursor != "" {
		var err error
		if after, err = httpapi.DecodeCursor[int64](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	if err := s.Subscriptions.Sees(ctx, in.Name, auth.Service(ctx)); err != nil {
		return nil, err
	}
	all, err := s.Subscriptions.Parked(ctx, in.Name, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	letters := make([]DeadLetter, len(all))
	for i, d := range all {
		letters[i] = DeadLetter{
			ID: d.Position, EventID: d.Event, Stream: d.Stream, Version: d.Version, Type: d.Type,
			Attempts: d.Attempts, Error: d.Error, ParkedAt: d.ParkedAt.UTC(), RetryAt: d.RetryAt,
		}
	}
	next := func(last DeadLetter) string { return httpapi.EncodeCursor(cursors, purpose, last.ID) }
	return &deadLetterList{Body: httpapi.NewPage(letters, in.Limit, next)}, nil
}
