package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// ServeHTTP is the edge: it gives the request its ids, lets the routes answer, turns what failed into a problem, and
// writes the request's one log line.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{
		requestID:   requestID(r.Header.Get("X-Request-ID")),
		traceparent: traceparent(r.Header.Get("Traceparent")),
		route:       "unmatched",
		client:      clientOf(r, a.config.TrustedProxies),
		limits:      a.config.Limits,
		cookies:     r.Cookies(),
		origin:      strings.Join(r.Header.Values("Origin"), ", "),
		header:      w.Header(),
	}
	r = r.WithContext(withCall(r.Context(), c))
	out := &recorder{ResponseWriter: w}
	a.standingHeaders(out.Header(), r, c)

	defer func() { a.finish(out, r, c, began, recover()) }()
	a.router.ServeHTTP(out, r)
}

// standingHeaders sets what every answer carries; an operation may set its own Cache-Control.
func (a *API) standingHeaders(h http.Header, r *http.Request, c *call) {
	h.Set("X-Request-ID", c.requestID)
	h.Set("Traceparent", c.traceparent)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		h.Set("Cache-Control", "no-store")
	}
	if strings.HasPrefix(a.config.PublicURL, "https://") {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// finish ends the request: the problem if it failed and nothing was sent yet, then the log line and the observation. A
// failure after the first byte cannot be told any more, so the connection is cut: half an answer must not look whole.
func (a *API) finish(out *recorder, r *http.Request, c *call, began time.Time, panicked any) {
	if panicked != nil {
		c.fail(panicError{panicked, debug.Stack()})
	}
	sent := out.status != 0
	switch {
	case c.failure == nil || sent || panicked == http.ErrAbortHandler:
	case errors.Is(c.failure, context.Canceled) && r.Context().Err() != nil:
		out.WriteHeader(statusClientGone)
	default:
		Problem(out, r, c.failure)
	}
	a.report(out, r, c, time.Since(began))
	if panicked != nil && (sent || panicked == http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
}

// statusClientGone is what the log says of a caller that hung up; nobody receives it.
const statusClientGone = 499

// panicError is a panic as an error: an internal one.
type panicError struct {
	value any
	stack []byte
}

// Error returns the panic's value; the stack is logged beside it.
func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader remembers the status, the first time.
func (w *recorder) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what was written so far.
func (w *recorder) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController, which asks why it failed.
func (w *recorder) FlushError() error {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}
