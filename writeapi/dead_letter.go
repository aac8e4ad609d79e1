package writeapi

import (
	"context"
	"net/http"

	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// deadLetters registers the endpoints of messages that were parked: one, those with an error, or all.
func (s *Server) deadLetters(api *httpapi.API) {
	for _, what := range []struct {
		verb, one, many, description string
		do                           func(ctx context.Context, name string, which subscription.Which) (int64, error)
	}{
		{
			"retry", "Have a parked message tried again", "Have parked messages tried again",
			"They come before anything else of their streams, in the order of the log. Those that fail stay parked.",
			s.Subscriptions.Retry,
		},
		{
			"discard", "Drop a parked message for good", "Drop parked messages for good",
			"They do not come again, but for a reset.", s.Subscriptions.Discard,
		},
	} {
		httpapi.Register(api, httpapi.Operation{
			ID: what.verb + "-parked-message", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/parked/{id}/" + what.verb,
			Tag: "Subscriptions", Summary: what.one, Description: what.description,
			Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, Errors: subscriptionFaults(subscription.ErrNotParked),
		}, func(ctx context.Context, in *parkedMessageRequest) (*struct{}, error) {
			_, err := s.onParked(ctx, in.Name, subscription.Which{Position: in.ID}, what.do)
			return nil, err
		})
		httpapi.Register(api, httpapi.Operation{
			ID: what.verb + "-parked-messages", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/parked/" + what.verb,
			Tag: "Subscriptions", Summary: what.many, Description: "Say which: those whose error contains a text, or `all`. " + what.description,
			Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 16 << 10, Status: http.StatusOK,
			Errors: subscriptionFaults(subscription.ErrNotParked, fault.ErrValidation),
		}, func(ctx context.Context, in *parkedMessagesRequest) (*parkedMessages, error) {
			if in.Body.All == (in.Body.Error != "") {
				return nil, fault.ErrValidation.At(fault.Field{Pointer: "/error", Code: "required", Message: "give either error or all"})
			}
			n, err := s.onParked(ctx, in.Name, subscription.Which{Error: in.Body.Error}, what.do)
			out := &parkedMessages{}
			out.Body.Count = n
			return out, err
		})
	}
}

type parkedMessageRequest struct {
	httpapi.SubscriptionName
	ID int64 `path:"id" minimum:"1" doc:"The message's id, as it is listed: its position"`
}

type parkedMessagesRequest struct {
	httpapi.SubscriptionName
	Body struct {
		All   bool   `json:"all,omitempty" doc:"All that are parked"`
		Error string `json:"error,omitempty" maxLength:"2000" doc:"Those whose error contains this"`
	}
}

type parkedMessages struct {
	Body struct {
		Count int64 `json:"count" doc:"How many they were"`
	}
}

func (s *Server) onParked(ctx context.Context, name string, which subscription.Which,
	do func(ctx context.Context, name string, which subscription.Which) (int64, error),
) (int64, error) {
	if err := s.Subscriptions.Sees(ctx, name, auth.Service(ctx)); err != nil {
		return 0, err
	}
	return do(ctx, name, which)
}
