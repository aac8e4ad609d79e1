package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gorilla/mux"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
)

// Config says what an API is made of. Only Title and Version must be set.
type Config struct {
	Title          string         // of the OpenAPI document and the docs page
	Version        string         // of the API
	PublicURL      string         // where callers reach it, "https://api.example.com"; "" leaves it open
	Logger         *slog.Logger   // nil is slog.Default
	Authenticator  Authenticator  // needed by every operation that is not open to Anyone
	AuthErrors     []*fault.Fault // what the Authenticator may return; listed on every operation that asks it
	StepUp         StepUp         // confirms a recent sign-in; needed by every operation that declares StepUp
	StepUpErrors   []*fault.Fault // what StepUp may return besides
	Observer       Observer       // told about every request; nil for none
	Limits         Limits         // how often may be asked; nil for as often as one likes
	TrustedProxies []netip.Prefix // whose word is taken for where a request came from; see clientOf
	CursorKey      []byte         // at least 32 bytes, the same on every node; nil makes one that dies with the process
	Timeout        time.Duration  // of a handler; 0 is 30 s
}

// StepUp confirms that a caller proved lately who they are. It fails with a fault of kind Unauthenticated, which asks for
// another sign-in, or Unavailable.
type StepUp func(ctx context.Context, p auth.Principal) error

// Observer is told about every request when it ends, for metrics. The route is the template ("/v1/documents/{id}"), or
// "unmatched"; methods nobody knows are "OTHER". So the number of label values is bounded by what is declared.
type Observer interface {
	ObserveRequest(method, route string, status int, took time.Duration)
}

// API is a set of operations that serves HTTP. Register operations before it serves the first request.
type API struct {
	config        Config
	logger        *slog.Logger
	authenticator Authenticator
	cursors       Cursors
	router        *mux.Router
	huma          huma.API
	operations    map[string]Operation
	routes        map[string]declaredAccess // by "GET /v1/documents"
	faults        map[string]*fault.Fault
	draining      context.Context
	drain         context.CancelFunc
	spec          func() ([]byte, error)
}

// New returns an API that serves /openapi.json, /docs and /errors/{code}, and nothing else yet.
func New(config Config) *API {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Timeout == 0 {
		config.Timeout = 30 * time.Second
	}
	a := &API{
		config:        config,
		logger:        slog.New(LogHandler(config.Logger.Handler())),
		authenticator: config.Authenticator,
		cursors:       cursorsOf(config.CursorKey),
		router:        mux.NewRouter().SkipClean(true), // a path that needs cleaning is not found, not redirected
		operations:    map[string]Operation{},
		routes:        map[string]declaredAccess{},
		faults:        map[string]*fault.Fault{},
	}
	a.draining, a.drain = context.WithCancel(context.Background())
	a.router.NotFoundHandler = failing(func(*http.Request) error { return ErrNotFound })
	a.router.MethodNotAllowedHandler = http.HandlerFunc(a.methodNotAllowed)
	a.huma = newHuma(a)
	a.addFaults(ownFaults()...)
	a.addFaults(config.AuthErrors...)
	a.addFaults(config.StepUpErrors...)
	if config.Limits != nil {
		a.addFaults(ErrRateLimited)
	}
	a.spec = sync.OnceValues(a.encodeSpec)
	a.handleDocs()
	return a
}

// Cursors returns the maker and reader of this API's cursors.
func (a *API) Cursors() Cursors { return a.cursors }

// Handle adds a plain route, outside the OpenAPI document and open to anyone: probes, key sets, pages. The path may hold
// variables as in "/errors/{code}". A GET also answers HEAD. The handler may fail with Problem, by the faults named here.
func (a *API) Handle(path, method string, h http.Handler, faults ...*fault.Fault) {
	a.addFaults(faults...)
	a.route(path, method, declaredAccess{Who: Anyone}, func(w http.ResponseWriter, r *http.Request) {
		callFrom(r.Context()).route = path
		h.ServeHTTP(w, r)
	})
}

// Scopes lists the scopes that operations ask for: what an API key can be given.
func (a *API) Scopes() []string {
	var all []string
	for _, op := range a.operations {
		if op.Scope != "" {
			all = append(all, op.Scope)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Routes lists what is served, operations and plain routes, and who may call: "GET /v1/documents owner documents:read".
func (a *API) Routes() []string {
	var all []string
	for route, access := range a.routes {
		all = append(all, route+" "+access.String())
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(a[strings.Index(a, "/"):], b[strings.Index(b, "/"):]), cmp.Compare(a, b))
	})
	return all
}

// route adds a route, once.
func (a *API) route(path, method string, access declaredAccess, h http.HandlerFunc) {
	methods := []string{method}
	if method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	for _, m := range methods {
		if _, twice := a.routes[m+" "+path]; twice {
			panic("httpapi: " + m + " " + path + " is routed twice")
		}
		a.routes[m+" "+path] = access
	}
	a.router.NewRoute().Path(path).Methods(methods...).HandlerFunc(h)
}

// methodNotAllowed says which methods the path does answer.
func (a *API) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range knownMethods() {
		asked := r.Clone(r.Context())
		asked.Method = m
		var match mux.RouteMatch
		if a.router.Match(asked, &match) && match.MatchErr == nil {
			allowed = append(allowed, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	Problem(w, r, ErrMethodNotAllowed)
}

// knownMethods lists the methods a route may answer.
func knownMethods() []string {
	return []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
}

// failing returns a handler that always fails.
func failing(why func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Problem(w, r, why(r)) })
}
