package apptest

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/auth/failures"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
	"github.com/atlas-platform/atlas/internal/limits"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/readapi"
	"github.com/atlas-platform/atlas/readapi/feed"
	"github.com/atlas-platform/atlas/workers"
	"github.com/atlas-platform/atlas/writeapi"
)

// Atlas is an Atlas of a test's own.
type Atlas struct {
	*logtest.Log
	URL     string
	Handler http.Handler // what is served there
	Spec    *apitest.Spec
	Refresh *auth.Refresh
	Limits  *limits.Limiter
	Hasher  *auth.Hasher
	Feeds   *feed.Feeds
	Audit   watchtest.Output // who read personal data
	KeyUses *auth.KeyUses    // written when a test flushes it

	Verifications *auth.Verifications

	options     Options
	keys        *auth.Keys
	tokens      *auth.Tokens
	revocations *auth.Revocations
	emailKey    []byte
	waiter      *engine.Waiter

	mu    sync.Mutex
	users map[uuid.UUID]User
}

// Options say what an Atlas of a test has that others have not.
type Options struct {
	Limits string    // as ATLAS_LIMITS
	Cost   auth.Cost // of hashing passwords; as little as can be unless set
	Feeds  feed.Config
	Verify bool // who signs up has to verify their address, as outside development mode
}

// Unlimited is what tests get that are not about limits: they are asked, and have more than enough.
const Unlimited = "*=1000000/1s, login.delay=off"

// New serves the API until the test ends.
func New(t *testing.T) *Atlas {
	t.Helper()
	return With(t, Options{Limits: Unlimited})
}

// With serves an API that is not as others are.
func With(t *testing.T, o Options) *Atlas {
	t.Helper()
	a := &Atlas{
		Log:         logtest.New(t, subscription.Migrations(), engine.Migrations(), postgres.MigrationSet{Name: "auth", FS: auth.Migrations()}, failures.Migrations()),
		keys:        must(auth.ParseKeys(auth.GenerateSeed().Reveal()))(t),
		revocations: auth.NewRevocations(time.Now),
		Hasher:      must(auth.NewHasher(cmp.Or(o.Cost, auth.Cost{Memory: 8, Passes: 1, Lanes: 1})))(t),
		users:       map[uuid.UUID]User{},
		options:     o,
	}
	a.emailKey = must(a.Keys.Secret(t.Context(), "email"))(t)
	a.Refresh = must(auth.NewRefresh(must(a.Keys.Secret(t.Context(), "refresh"))(t)))(t)
	a.Verifications = must(auth.NewVerifications(a.emailKey))(t)
	a.tokens = a.tokensAt(time.Now)
	a.Limits = must(limits.New(must(limits.Parse(o.Limits))(t), a.emailKey, nil))(t)
	a.revocations.Ready()
	a.project(t)
	a.Handler = a.api()
	server := httptest.NewUnstartedServer(nil)
	server.Config = httpapi.Server("", a.Handler)
	server.Start()
	t.Cleanup(server.Close)
	a.URL = server.URL
	a.Spec = spec.read(t, a.URL)
	a.SignUp(t, Ann, "Ann")
	a.SignUp(t, Bob, "Bob")
	return a
}

// spec is the OpenAPI document of every Atlas of a test process: their options change nothing in it, and to write it and take
// it apart costs more than most tests do.
var spec served

type served struct {
	mu   sync.Mutex
	spec *apitest.Spec
}

func (s *served) read(t *testing.T, url string) *apitest.Spec {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec == nil {
		s.spec = apitest.ReadSpec(t, url)
	}
	return s.spec
}

// project keeps the read tables up with the log.
func (a *Atlas) project(t *testing.T) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if err := engine.Prepare(t.Context(), a.Pool, projections.Catalog()); err != nil {
		t.Fatal(err)
	}
	a.waiter = engine.NewWaiter(a.Pool, log)
	runner := must(engine.NewRunner(a.Store, a.Tail, a.Pool, log, a.waiter, projections.Catalog()))(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- runner.Run(ctx) }()
	go func() { done <- a.workshop().Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
}

func (a *Atlas) workshop() *engine.Workshop {
	build := func() (string, error) { return "test", nil }
	return engine.NewWorkshop(a.Store, a.Pool, slog.New(slog.DiscardHandler), build, projections.Catalog())
}

// api puts the two halves of the API together as the process does, with passwords that cost little.
func (a *Atlas) api() *httpapi.API {
	handler := commands.NewHandler(a.Store)
	subscriptions := subscription.New(a.Pool, a.Store, a.Tail, slog.New(slog.DiscardHandler))
	authenticator := auth.NewAuthenticator(a.tokens, a.revocations, handler)
	a.KeyUses = auth.NewKeyUses(a.Pool, time.Now, slog.New(slog.DiscardHandler))
	keys := auth.NewAPIKeys(writeapi.KeyTruth(handler), a.revocations, a.KeyUses.Used, time.Now)
	api := httpapi.New(httpapi.Config{
		Title: "Atlas", Version: "test", Logger: slog.New(slog.DiscardHandler), CursorKey: a.emailKey, Limits: a.Limits,
		Authenticator: auth.NewCredentials(authenticator, keys),
		AuthErrors:    []*fault.Fault{auth.ErrAPIKeyInvalid, auth.ErrTokenInvalid, auth.ErrTokenExpired, auth.ErrTokenRevoked, auth.ErrRevocationsUnknown},
		StepUp:        authenticator.StepUp, StepUpErrors: []*fault.Fault{auth.ErrStepUpRequired},
	})
	(&writeapi.Server{
		Commands: handler, Accounts: handler, Passwords: a.Hasher, Access: a.tokens, Refresh: a.Refresh,
		Counters: auth.NewRefreshStore(a.Refresh, a.Pool), Subjects: a.Keys, Delay: a.Limits.LoginDelay(),
		Failures: failures.NewStore(a.Pool), Devices: auth.NewDevices(a.emailKey), Verify: a.Verifications,
		Verified: !a.options.Verify, Origin: Origin, EmailKey: a.emailKey, Clock: time.Now, Subscriptions: subscriptions,
	}).Routes(api)
	a.Feeds = feed.New(a.Store, a.Tail, slog.New(slog.DiscardHandler), a.options.Feeds)
	(&readapi.Server{
		Reader: projections.NewReader(a.Pool), Log: a.Store, Waiter: a.waiter, Limits: a.Limits, Failures: failures.NewStore(a.Pool),
		Workshop: a.workshop(), Desk: engine.NewDesk(a.Store, a.Pool, projections.Catalog()), Uses: a.KeyUses, EmailKey: a.emailKey, Clock: time.Now,
		Subscriptions: subscriptions,
		Feeds:         a.Feeds, Audit: slog.New(slog.NewJSONHandler(&a.Audit, nil)),
	}).Routes(api)
	return api
}

func (a *Atlas) tokensAt(clock func() time.Time) *auth.Tokens {
	return auth.NewTokens(a.keys, "atlas", "atlas", clock)
}

// CatchUp returns when the read tables hold everything that is in the log.
func (a *Atlas) CatchUp(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var ids []engine.ID
	for _, p := range projections.Catalog() {
		ids = append(ids, p.ID())
	}
	if err := a.waiter.Wait(ctx, must(a.Store.Newest(ctx))(t), ids...); err != nil {
		t.Fatal(err)
	}
}

// Revoke tells the API what the log says is revoked, as a feed over the log does.
func (a *Atlas) Revoke(t *testing.T) {
	t.Helper()
	vocabulary := a.Store.Vocabulary()
	for _, r := range must(a.Store.ReadRecent(t.Context(), auth.RevocationWindow, vocabulary.Revoking()))(t).Events {
		workers.Revoke(a.revocations, vocabulary, r, r.At)
	}
}

// Events returns a stream's events.
func (a *Atlas) Events(t *testing.T, category string, id uuid.UUID) []events.Event {
	t.Helper()
	return eventsOf(t, a.Recorded(t, category, id))
}

// Recorded returns a stream's events as they are recorded.
func (a *Atlas) Recorded(t *testing.T, category string, id uuid.UUID) []*eventstore.Recorded {
	t.Helper()
	return must(a.Store.Load(t.Context(), eventstore.NewStream(category, id), 1))(t)
}

func eventsOf(t *testing.T, recorded []*eventstore.Recorded) (all []events.Event) {
	t.Helper()
	for _, r := range recorded {
		all = append(all, must(r.Event())(t))
	}
	return all
}

// must takes a result and returns it, unless there is an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
