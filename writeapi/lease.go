package writeapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/eventstore/wire"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// leases registers the endpoints by which messages are handed out and answered. They are all a worker needs, and it does
// not matter which node it asks.
func (s *Server) leases(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "lease-messages", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/lease", Tag: "Subscriptions",
		Summary: "Take messages to work on, and wait for some where there are none",
		Description: "Each is the next one of another stream. Answer each by its token, with ack or nack, before `lease_until`, or " +
			"extend the lease: afterwards it comes again, which counts as a failed try. Messages come at least once: their event's `id` " +
			"is the same each time. Where nothing came in time, `messages` is empty. Sealed fields are there for keys with the scope `unseal`.",
		Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, Held: true, MaxBody: 4 << 10, Status: http.StatusOK,
		Errors: subscriptionFaults(subscription.ErrBuiltIn),
	}, s.lease)
	httpapi.Register(api, httpapi.Operation{
		ID: "ack-messages", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/ack", Tag: "Subscriptions",
		Summary:     "Say that messages are done",
		Description: "Their streams go on. Repeating it does no harm." + lostDescription,
		Access:      httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 64 << 10, Errors: answerFaults(),
	}, s.ack)
	httpapi.Register(api, httpapi.Operation{
		ID: "nack-messages", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/nack", Tag: "Subscriptions",
		Summary: "Say that messages failed, or are wanted later",
		Description: "A message that failed is tried again, after a pause that grows, until it was tried often enough and is parked; " +
			"`permanent` parks it at once. With `delay_seconds` it comes again then; without an `error` besides, that is no failure. " +
			"Its stream waits, and no other." + lostDescription,
		Access: httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 512 << 10, Errors: answerFaults(),
	}, s.nack)
	httpapi.Register(api, httpapi.Operation{
		ID: "extend-leases", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/extend", Tag: "Subscriptions",
		Summary:     "Take more time for messages, and tell how far they have come",
		Description: "Counted from now on; a lease that lasts longer stays as it is." + lostDescription,
		Access:      httpapi.Admin, Scope: useSubscriptions, NoReplay: true, MaxBody: 512 << 10, Status: http.StatusOK, Errors: answerFaults(),
	}, s.extend)
}

const lostDescription = " Where a lease is over, the answer is `lease_lost` and names it; the others in the request count all the same."

func answerFaults() []*fault.Fault {
	return subscriptionFaults(subscription.ErrBuiltIn, subscription.ErrLeaseOver)
}

type leaseRequest struct {
	httpapi.SubscriptionName
	Body *struct {
		Messages int `json:"messages,omitempty" minimum:"1" maximum:"100" default:"10" doc:"As many at the most"`
		Lease    int `json:"lease_seconds,omitempty" minimum:"1" maximum:"43200" default:"60" doc:"How long they may take before others are given them"`
		Wait     int `json:"wait_seconds,omitempty" minimum:"1" maximum:"60" default:"20" doc:"How long to wait where there is none"`
	}
}

// LeasedMessage is a message that somebody works on.
type LeasedMessage struct {
	Token   uuid.UUID  `json:"token" doc:"Answer with it"`
	Until   time.Time  `json:"lease_until"`
	Attempt int        `json:"attempt" doc:"1 the first time"`
	Replay  bool       `json:"replay" doc:"It was done before the last reset"`
	Retried bool       `json:"retried" doc:"It was parked, and somebody had it tried again"`
	Event   wire.Event `json:"event"`
}

type leasedMessages struct {
	Body struct {
		Messages []LeasedMessage `json:"messages" nullable:"false"`
	}
}

func (s *Server) lease(ctx context.Context, in *leaseRequest) (*leasedMessages, error) {
	ask := subscription.Ask{Most: 10, Lease: time.Minute, Wait: 20 * time.Second}
	if b := in.Body; b != nil {
		ask = subscription.Ask{Most: b.Messages, Lease: time.Duration(b.Lease) * time.Second, Wait: time.Duration(b.Wait) * time.Second}
	}
	ask.Owner = auth.Service(ctx)
	leased, err := s.Subscriptions.Lease(ctx, in.Name, ask)
	if err != nil {
		return nil, err
	}
	p, _ := auth.PrincipalFrom(ctx)
	unseal := p.Service() && p.HasScope("unseal")
	out := &leasedMessages{}
	out.Body.Messages = make([]LeasedMessage, len(leased))
	for i, m := range leased {
		event, err := wire.Show(m.Event, unseal)
		if err != nil {
			return nil, err
		}
		out.Body.Messages[i] = LeasedMessage{
			Token: m.Token, Until: m.Until, Attempt: m.Attempt, Replay: m.Replay, Retried: m.Retried, Event: event,
		}
	}
	return out, nil
}

type ackRequest struct {
	httpapi.SubscriptionName
	Body struct {
		Tokens []uuid.UUID `json:"tokens" minItems:"1" maxItems:"100" nullable:"false"`
	}
}

func (s *Server) ack(ctx context.Context, in *ackRequest) (*struct{}, error) {
	answers := make([]subscription.Answer, len(in.Body.Tokens))
	for i, token := range in.Body.Tokens {
		answers[i] = subscription.Answer{Token: token, Done: true}
	}
	return s.answer(ctx, in.Name, answers, "/tokens/%d")
}

type nackRequest struct {
	httpapi.SubscriptionName
	Body struct {
		Messages []FailedMessage `json:"messages" minItems:"1" maxItems:"100" nullable:"false"`
	}
}

// FailedMessage is a message that is not done.
type FailedMessage struct {
	Token     uuid.UUID `json:"token"`
	Error     string    `json:"error,omitempty" maxLength:"2000" doc:"Why it failed, for who looks after it; nothing personal"`
	Delay     *float64  `json:"delay_seconds,omitempty" minimum:"0" maximum:"2592000" nullable:"true" doc:"When it comes again; null leaves it to the subscription"`
	Permanent bool      `json:"permanent,omitempty" doc:"No further try will mend it: it is parked"`
}

func (s *Server) nack(ctx context.Context, in *nackRequest) (*struct{}, error) {
	answers := make([]subscription.Answer, len(in.Body.Messages))
	for i, m := range in.Body.Messages {
		answers[i] = subscription.Answer{Token: m.Token, Error: m.Error, Permanent: m.Permanent}
		if m.Delay != nil {
			delay := seconds(*m.Delay)
			answers[i].Delay = &delay
		}
	}
	return s.answer(ctx, in.Name, answers, "/messages/%d")
}

// answer records answers, and names those that do not count.
func (s *Server) answer(ctx context.Context, name string, answers []subscription.Answer, pointer string) (*struct{}, error) {
	counts, err := s.Subscriptions.Answer(ctx, name, auth.Service(ctx), answers)
	if err != nil {
		return nil, err
	}
	return nil, lost(pointer, len(counts), func(i int) bool { return counts[i] })
}

// lost is ErrLeaseOver that names what does not count, if there is any.
func lost(pointer string, n int, counts func(i int) bool) error {
	var fields []fault.Field
	for i := range n {
		if !counts(i) {
			fields = append(fields, fault.Field{Pointer: fmt.Sprintf(pointer, i), Code: "lease_lost", Message: "its lease is over"})
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return subscription.ErrLeaseOver.At(fields...)
}

type extendRequest struct {
	httpapi.SubscriptionName
	Body struct {
		Messages []ExtendedMessage `json:"messages" minItems:"1" maxItems:"100" nullable:"false"`
	}
}

// ExtendedMessage is a message that takes longer.
type ExtendedMessage struct {
	Token    uuid.UUID `json:"token"`
	Seconds  int       `json:"seconds" minimum:"1" maximum:"43200" doc:"From now on"`
	Progress *string   `json:"progress,omitempty" maxLength:"2000" nullable:"true" doc:"What who looks after it is told: page 3 of 9"`
}

type extendedLeases struct {
	Body struct {
		Data []ExtendedLease `json:"data" nullable:"false"`
	}
}

// ExtendedLease is until when a message may be worked on.
type ExtendedLease struct {
	Token uuid.UUID `json:"token"`
	Until time.Time `json:"lease_until"`
}

func (s *Server) extend(ctx context.Context, in *extendRequest) (*extendedLeases, error) {
	if _, err := s.Subscriptions.QueueOf(ctx, in.Name, auth.Service(ctx)); err != nil {
		return nil, err
	}
	asked := make([]subscription.Extension, len(in.Body.Messages))
	for i, m := range in.Body.Messages {
		asked[i] = subscription.Extension{Token: m.Token, By: time.Duration(m.Seconds) * time.Second, Progress: m.Progress}
	}
	ends, err := s.Subscriptions.ExtendLeases(ctx, in.Name, asked)
	if err != nil {
		return nil, err
	}
	out := &extendedLeases{}
	out.Body.Data = []ExtendedLease{}
	for _, m := range asked {
		out.Body.Data = append(out.Body.Data, ExtendedLease{m.Token, ends[m.Token]})
	}
	err = lost("/messages/%d", len(asked), func(i int) bool { return !ends[asked[i].Token].IsZero() })
	return out, err
}
