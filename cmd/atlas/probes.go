package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// errNotReady says why the process should get no requests now.
var errNotReady = fault.New(fault.Unavailable, "not_ready", "the process is not ready to serve")

// staleAfter is how long the log may go unread before the process says that it is not ready.
const staleAfter = 5 * time.Second

// addProbes adds what orchestrators ask.
func (a *app) addProbes() {
	a.api.Handle("/livez", http.MethodGet, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { ok(w) }))
	a.api.Handle("/readyz", http.MethodGet, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.ready(r.Context()); err != nil {
			httpapi.Problem(w, r, err)
			return
		}
		ok(w)
	}), errNotReady)
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, `{"status":"ok"}`+"\n")
}

// ready says why the process is not ready, or nil: it follows the log, knows what is revoked, and its read tables have
// come to where the log stood when it started.
func (a *app) ready(ctx context.Context) error {
	switch {
	case a.draining.Load():
		return errNotReady.Because("the process is stopping")
	case time.Since(a.tail.LastRead()) > staleAfter:
		return errNotReady.Because("the log cannot be read")
	case !a.revocations.Fresh(time.Now()):
		return errNotReady.Because("what is revoked is not known yet")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var ids []engine.ID
	for _, p := range projections.Catalog() { // not the outbox: what stands still there is no reason to refuse requests
		ids = append(ids, p.ID())
	}
	err := a.waiter.Wait(ctx, a.bootPosition, ids...)
	if errors.Is(err, engine.ErrLagging) {
		return errNotReady.Because("the read tables have not caught up with the log yet")
	}
	return err
}

// opsHandler serves what is for operators only.
func (a *app) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics.Handler())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// jwks serves the public keys that access tokens can be verified with.
func jwks(tokens *auth.Tokens) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Write(tokens.Keys().JWKS())
	})
}
