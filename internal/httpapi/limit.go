package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/limits"
)

// ErrRateLimited refuses a caller who is over a limit.
var ErrRateLimited = fault.New(fault.TooMany, "rate_limited", "too many requests; wait as long as Retry-After says")

// Limits says how often something may be asked for.
type Limits interface {
	Knows(limit string) bool
	Take(ctx context.Context, limit, key string) limits.Verdict
}

// The limits that hold where an operation declares none of its own.
const (
	limitAddress   = "api.address"
	limitPrincipal = "api.principal"
)

// Limit takes one from a limit of the API that serves the request, for a key: an account, a session. It is
// ErrRateLimited when there is none left. The answer's headers tell of it. Without limits, nothing happens.
func Limit(ctx context.Context, limit, key string) error {
	c := callFrom(ctx)
	if c.limits == nil {
		return nil
	}
	v := c.limits.Take(ctx, limit, key)
	c.standings = append(c.standings, v.Standings...)
	limitHeaders(c.header, c.standings)
	if v.Refused {
		return ErrRateLimited.RetryAfter(v.RetryAfter)
	}
	return nil
}

// limitHeaders tells where the caller stands with every limit that was asked (draft-ietf-httpapi-ratelimit-headers-11).
func limitHeaders(h http.Header, all []limits.Standing) {
	policies, states := make([]string, len(all)), make([]string, len(all))
	for i, s := range all {
		policies[i] = fmt.Sprintf(`"%s";q=%d;w=%d`, s.Policy, s.Rate.Quota, limits.Seconds(s.Rate.Window))
		states[i] = fmt.Sprintf(`"%s";r=%d;t=%d`, s.Policy, s.Remaining, limits.Seconds(s.Reset))
	}
	if len(all) > 0 {
		h.Set("RateLimit-Policy", strings.Join(policies, ", "))
		h.Set("RateLimit", strings.Join(states, ", "))
	}
}

// identify finds out who calls, within the limits: strangers are counted by where they come from, and so is who sends a
// credential that is refused; everyone else by who they are.
func (e *endpoint) identify(r *http.Request) (*http.Request, error) {
	if e.op.Access == Anyone {
		return r, e.limitStranger(r.Context())
	}
	ctx := r.Context()
	r, err := e.api.authenticate(e.op, r)
	var limited error
	if caller := callFrom(ctx).principal(); caller != uuid.Nil {
		limited = e.limitCaller(ctx, caller.String())
	} else if _, f, is := fault.Of(err); is && f.Kind() == fault.Unauthenticated {
		limited = Limit(ctx, limitAddress, ClientFrom(ctx).Network())
	}
	if limited != nil {
		return nil, limited
	}
	return r, err
}

func (e *endpoint) limitStranger(ctx context.Context) error {
	name := limitAddress
	if e.op.Limit != "" {
		name = e.op.Limit + ".address"
	}
	return Limit(ctx, name, ClientFrom(ctx).Network())
}

func (e *endpoint) limitCaller(ctx context.Context, caller string) error {
	if err := Limit(ctx, limitPrincipal, caller); err != nil || e.op.Limit == "" {
		return err
	}
	return Limit(ctx, e.op.Limit+".principal", caller)
}

// limitFault says what is wrong with the limit that an operation declares.
func (a *API) limitFault(op Operation) string {
	if op.Limit == "" || a.config.Limits == nil {
		return ""
	}
	name := op.Limit + ".principal"
	if op.Access == Anyone {
		name = op.Limit + ".address"
	}
	if a.config.Limits.Knows(name) {
		return ""
	}
	return "declares a limit that is none: " + name
}
