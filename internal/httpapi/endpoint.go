package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// endpoint is one operation as it is served: our steps, then Huma's parsing of parameters, then the handler.
type endpoint struct {
	api     *API
	op      Operation
	huma    *huma.Operation
	next    func(huma.Context)
	body    bodyRule
	queries map[string]bool // the declared query parameters; true for those that may repeat
	headers []string        // the declared header parameters
}

func newEndpoint(a *API, op Operation, h *huma.Operation, next func(huma.Context)) *endpoint {
	e := &endpoint{api: a, op: op, huma: h, next: next, queries: map[string]bool{}}
	e.body = newBodyRule(op, h, a.huma)
	for _, p := range h.Parameters {
		switch p.In {
		case "query":
			e.queries[p.Name] = p.Explode != nil && *p.Explode
		case "header":
			e.headers = append(e.headers, p.Name)
		}
	}
	if slices.Contains(e.headers, "If-None-Match") {
		h.Responses["304"] = &huma.Response{Description: "The caller holds the current version."}
	}
	return e
}

// serve answers one request.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	c := callFrom(r.Context())
	c.route = e.op.Path
	r, err := e.admit(r, w)
	if err != nil {
		c.fail(err)
		return
	}
	if e.op.Held {
		held, release := e.api.hold(e.op, r)
		defer release()
		r = held
	}
	if d := e.timeout(); d > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		r = r.WithContext(ctx)
	}
	out := &answer{ResponseWriter: w, request: r, call: c, success: e.huma.DefaultStatus}
	e.next(humaContext(e.huma, r, out))
	out.finish()
}

// admit is what a request goes through before a handler sees it, the cheap and the secret-keeping first: a stranger
// learns nothing about what a body should look like, and cannot make us read one.
func (e *endpoint) admit(r *http.Request, w http.ResponseWriter) (*http.Request, error) {
	r, err := e.identify(r)
	if err != nil {
		return nil, err
	}
	if err := acceptable(r.Header.Values("Accept"), e.op.produces()); err != nil {
		return nil, err
	}
	callFrom(r.Context()).media = preferred(r.Header.Values("Accept"), e.op.produces())
	if r, err = e.checkParameters(r); err != nil {
		return nil, err
	}
	body, err := e.body.read(w, r)
	if err != nil {
		return nil, err
	}
	if e.op.replays() {
		return withIdempotency(r, body)
	}
	return r, nil
}

func (e *endpoint) timeout() time.Duration {
	if e.op.Timeout != 0 || e.op.Held {
		return e.op.Timeout
	}
	return e.api.config.Timeout
}
