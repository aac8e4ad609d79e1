package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// report writes the request's one log line and tells the observer. It names the route, never the path, the query, the
// body or a header.
func (a *API) report(out *recorder, r *http.Request, c *call, took time.Duration) {
	method := r.Method
	if !slices.Contains(knownMethods(), method) {
		method = "OTHER"
	}
	attrs := []slog.Attr{
		slog.String("method", method),
		slog.String("route", c.route),
		slog.Int("status", out.status),
		slog.Float64("dur_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", out.bytes),
	}
	if c.user != uuid.Nil {
		attrs = append(attrs, slog.String("user_id", c.user.String()))
	}
	if c.key != uuid.Nil {
		attrs = append(attrs, slog.String("key_id", c.key.String()))
	}
	if c.code != "" {
		attrs = append(attrs, slog.String("code", c.code))
	}
	level := slog.LevelInfo
	if c.failure != nil && out.status >= 500 || isPanic(c.failure) {
		level = slog.LevelError
		if out.status == http.StatusServiceUnavailable && !isPanic(c.failure) {
			level = slog.LevelWarn // said to be so by design: not ready, busy, lagging
		}
		attrs = append(attrs, slog.String("error", c.failure.Error()))
		var p panicError
		if errors.As(c.failure, &p) {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
	}
	a.logger.LogAttrs(r.Context(), level, "request", attrs...)
	if a.config.Observer != nil {
		a.config.Observer.ObserveRequest(method, c.route, out.status, took)
	}
}

func isPanic(err error) bool {
	var p panicError
	return errors.As(err, &p) && p.value != http.ErrAbortHandler
}

// LogHandler returns a handler that adds request_id and traceparent to every record logged with a request's context.
// Wrapping twice is wrapping once.
func LogHandler(h slog.Handler) slog.Handler {
	if _, wrapped := h.(logHandler); wrapped {
		return h
	}
	return logHandler{h}
}

type logHandler struct{ slog.Handler }

// Handle adds what the context knows.
func (h logHandler) Handle(ctx context.Context, rec slog.Record) error {
	if c := callFrom(ctx); c.requestID != "" {
		rec = rec.Clone()
		rec.AddAttrs(slog.String("request_id", c.requestID), slog.String("traceparent", c.traceparent))
	}
	return h.Handler.Handle(ctx, rec)
}

// WithAttrs keeps the wrapping.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapping.
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
