package writeapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// useSubscriptions is the scope of what workers outside Atlas do.
const useSubscriptions = "subscriptions:use"

// subscriptions registers the endpoints by which subscriptions are made and steered. A service key sees its own, an admin
// all. None of them is a command, since where a worker stands is no history; each may be repeated without harm.
func (s *Server) subscriptions(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "put-subscription", Method: http.MethodPut, Path: "/v1/subscriptions/{name}", Tag: "Subscriptions",
		Summary: "Make a subscription, or change how it retries and replays",
		Description: "It is the key's that makes it, and keeps its place in the log and its filter, which is fixed when it is made: " +
			"events whose stream is of one of the categories and whose type is one of the types; without any, all. `start` counts " +
			"when it is made. Repeating it does no harm: a worker may do so whenever it starts.",
		Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 64 << 10,
		Errors: subscriptionFaults(subscription.ErrTaken, subscription.ErrChanged, subscription.ErrDefinition, eventstore.ErrFuture),
	}, s.putSubscription)
	httpapi.Register(api, httpapi.Operation{
		ID: "delete-subscription", Method: http.MethodDelete, Path: "/v1/subscriptions/{name}", Tag: "Subscriptions",
		Summary: "Delete a subscription and all that is known of it",
		Access:  httpapi.Admin, Scope: useSubscriptions, NoReplay: true, Errors: subscriptionFaults(subscription.ErrBuiltIn),
	}, s.deleteSubscription)
	httpapi.Register(api, httpapi.Operation{
		ID: "reset-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/reset", Tag: "Subscriptions",
		Summary: "Set a subscription to another place in the log",
		Description: "What is leased or parked is cleared, and answers to it count no more. What was done before is left out, " +
			"unless the subscription replays, or `replay_effects` says that everything is to happen again.",
		Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 4 << 10, Errors: subscriptionFaults(eventstore.ErrFuture),
	}, s.resetSubscription)
	s.leases(api)
	s.deadLetters(api)
}

// subscriptionFaults is what an operation on a subscription may meet, and what else.
func subscriptionFaults(more ...*fault.Fault) []*fault.Fault {
	return append(more, subscription.ErrNotFound, eventstore.ErrUnavailable)
}

type putSubscriptionRequest struct {
	httpapi.SubscriptionName
	Body struct {
		Categories []string `json:"categories,omitempty" maxItems:"50" pattern:"^[a-z][a-z0-9_]{0,62}$" nullable:"false" doc:"Of streams: document; all where there is none"`
		Types      []string `json:"types,omitempty" maxItems:"100" maxLength:"100" nullable:"false" doc:"Of events: document.created; all where there is none"`
		Start      string   `json:"start,omitempty" pattern:"^(beginning|now|[0-9]{1,18})$" default:"beginning" doc:"beginning, now, or a position: what lies behind it comes first"`
		Attempts   int      `json:"attempts,omitempty" minimum:"-1" maximum:"1000" default:"15" doc:"After so many failed tries a message is parked; -1 for never"`
		First      float64  `json:"retry_first_seconds,omitempty" minimum:"0.001" maximum:"86400" default:"0.5" doc:"How long a message that failed waits the first time; each time twice as long"`
		Most       float64  `json:"retry_max_seconds,omitempty" minimum:"0.001" maximum:"86400" default:"600" doc:"How long it waits at the most"`
		Replays    bool     `json:"replays,omitempty" doc:"After a reset, messages that were done before come again"`
	}
}

type putSubscription struct {
	Body struct {
		Name       string    `json:"name"`
		Created    bool      `json:"created" doc:"It was not there before"`
		OwnerID    uuid.UUID `json:"owner_id" doc:"The key, or the admin, that made it"`
		Categories []string  `json:"categories" nullable:"false"`
		Types      []string  `json:"types" nullable:"false"`
		Attempts   int       `json:"attempts"`
		First      float64   `json:"retry_first_seconds"`
		Most       float64   `json:"retry_max_seconds"`
		Replays    bool      `json:"replays"`
	}
}

func (s *Server) putSubscription(ctx context.Context, in *putSubscriptionRequest) (*putSubscription, error) {
	p, _ := auth.PrincipalFrom(ctx)
	b := in.Body
	start, err := parseStart(b.Start)
	if err != nil {
		return nil, err
	}
	created, err := s.Subscriptions.CreateQueue(ctx, subscription.Queue{
		Definition: subscription.Definition{
			Name: in.Name, Filter: eventstore.Filter{Categories: b.Categories, Types: b.Types}, Start: start,
		},
		Owner: p.ID(), Replays: b.Replays,
		Retry: subscription.Retry{First: seconds(b.First), Max: seconds(b.Most), Attempts: b.Attempts},
	})
	if err != nil {
		return nil, err
	}
	q, err := s.Subscriptions.QueueOf(ctx, in.Name, p.ID())
	if err != nil {
		return nil, err
	}
	out := &putSubscription{}
	out.Body.Created = created
	out.Body.Name, out.Body.OwnerID, out.Body.Categories, out.Body.Types = q.Name, q.Owner, q.Filter.Categories, q.Filter.Types
	out.Body.Attempts, out.Body.First, out.Body.Most, out.Body.Replays = q.Retry.Attempts, q.Retry.First.Seconds(), q.Retry.Max.Seconds(), q.Replays
	return out, nil
}

// parseStart reads a place in the log, whose form the schema has checked.
func parseStart(text string) (subscription.Start, error) {
	switch text {
	case "", "beginning":
		return subscription.Beginning(), nil
	case "now":
		return subscription.Now(), nil
	}
	position, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return subscription.Start{}, fmt.Errorf("start at %q: %w", text, err)
	}
	return subscription.After(position), nil
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

type subscriptionRequest struct{ httpapi.SubscriptionName }

func (s *Server) deleteSubscription(ctx context.Context, in *subscriptionRequest) (*struct{}, error) {
	if _, err := s.Subscriptions.QueueOf(ctx, in.Name, auth.Service(ctx)); err != nil {
		return nil, err
	}
	return nil, s.Subscriptions.Delete(ctx, in.Name)
}

type resetSubscriptionRequest struct {
	httpapi.SubscriptionName
	Body struct {
		To      string `json:"to" pattern:"^(beginning|now|[0-9]{1,18})$" doc:"beginning, now, or a position: what lies behind it comes next"`
		Effects bool   `json:"replay_effects,omitempty" doc:"Forget what was done before: everything behind the place happens again"`
	}
}

func (s *Server) resetSubscription(ctx context.Context, in *resetSubscriptionRequest) (*struct{}, error) {
	if err := s.Subscriptions.Sees(ctx, in.Name, auth.Service(ctx)); err != nil {
		return nil, err
	}
	to, err := parseStart(in.Body.To)
	if err != nil {
		return nil, err
	}
	return nil, s.Subscriptions.Reset(ctx, in.Name, to, in.Body.Effects)
}
