package httpapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/limits"
)

// call is what the edge knows of one request. The steps of the request fill it in; the access log reads it at the end.
// It belongs to the request's own goroutine.
type call struct {
	requestID   string
	traceparent string
	route       string    // the template of the route, never the path itself
	user        uuid.UUID // nil when nobody is signed in, and for a service key
	key         uuid.UUID // nil unless an API key was sent
	scope       string    // what the operation asks an API key for, where the caller was refused
	tokenSent   bool      // a bearer token was read and judged
	failure     error     // why the request failed; the first failure is the cause
	code        string    // the code of the problem that was sent
	client      Client
	limits      Limits            // nil where there are none
	cookies     []*http.Cookie    // that the caller sent
	origin      string            // of the page that the request comes from, as a browser says
	header      http.Header       // of the answer
	standings   []limits.Standing // with the limits that were asked
	media       string            // that the operation is to answer with
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// callFrom returns the request's call; outside a request it returns an empty one, so that nobody needs to ask.
func callFrom(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// principal is whom the request is counted for: the user, whose keys are counted with them, or a service key.
func (c *call) principal() uuid.UUID {
	if c.user == uuid.Nil {
		return c.key
	}
	return c.user
}

// fail records why the request failed. Nothing that is written afterwards reaches the caller: the edge sends the problem.
func (c *call) fail(err error) {
	if c.failure == nil {
		c.failure = err
	}
}

// Media returns the media type that the caller likes best of those that the operation declares to produce.
func Media(ctx context.Context) string { return callFrom(ctx).media }

// RequestID returns the id of the request that ctx belongs to, or "" outside a request.
func RequestID(ctx context.Context) string { return callFrom(ctx).requestID }

// Traceparent returns the W3C traceparent of the request that ctx belongs to, or "" outside a request.
func Traceparent(ctx context.Context) string { return callFrom(ctx).traceparent }
