package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/auth/failures"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/limits"
	"github.com/atlas-platform/atlas/internal/mail"
	"github.com/atlas-platform/atlas/internal/telemetry"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/readapi"
	"github.com/atlas-platform/atlas/readapi/feed"
	"github.com/atlas-platform/atlas/workers"
	"github.com/atlas-platform/atlas/workers/outbox"
	"github.com/atlas-platform/atlas/workers/relay"
	"github.com/atlas-platform/atlas/writeapi"
)

// app is a process of Atlas, put together.
type app struct {
	node         *node
	tail         *eventstore.Tail
	waiter       *engine.Waiter
	revocations  *auth.Revocations
	feeds        *feed.Feeds // nil without the role api
	keyUses      *auth.KeyUses
	metrics      *telemetry.Metrics
	limits       *limits.Limiter
	api          *httpapi.API
	parts        []func(context.Context) error // what runs beside the HTTP servers, until its context ends
	bootPosition int64                         // what the read tables must have come to before the process is ready
	draining     atomic.Bool
}

// maxAppendAge is how long an append may hold back the readers of the log. An append takes fifteen seconds at most, so
// one that is older has lost whoever began it.
const maxAppendAge = 30 * time.Second

// newApp wires the rooms together, from the log outwards.
func newApp(ctx context.Context, cfg Config, n *node) (a *app, err error) {
	a = &app{node: n, metrics: telemetry.NewMetrics(), waiter: engine.NewWaiter(n.pool, n.log)}
	standing, err := n.store.Standing(ctx) // before anything is appended: see eventstore.Place
	if err != nil {
		return nil, err
	}
	a.bootPosition = standing.Last
	waker := eventstore.NewWaker(n.store, n.log)
	a.tail = eventstore.NewTail(n.store, waker, n.log)
	watchdog := eventstore.NewWatchdog(n.store, maxAppendAge, n.log)
	a.parts = append(a.parts, waker.Run, a.tail.Run, watchdog.Run, eventstore.NewUpkeep(n.store, n.log).Run)

	handler := commands.NewHandler(n.store)
	n.keys.OnForgotten(handler.DropStates)
	if err := a.addProjector(cfg); err != nil {
		return nil, err
	}
	if err := a.addSealer(ctx, cfg); err != nil {
		return nil, err
	}
	if err := a.addWorkers(ctx, cfg, handler); err != nil {
		return nil, err
	}
	a.addRelay(cfg)
	if err := a.addAPI(ctx, cfg, handler, waker); err != nil {
		return nil, err
	}
	a.addMetrics(handler)
	return a, nil
}

// addProjector keeps the read tables and the outbox up with the log, and the outbox small.
func (a *app) addProjector(cfg Config) error {
	if !cfg.has("projector") {
		a.parts = append(a.parts, func(ctx context.Context) error {
			return engine.Attend(ctx, a.node.store, a.node.pool, a.node.log, a.node.projections)
		})
		return nil
	}
	runner, err := engine.NewRunner(a.node.store, a.tail, a.node.pool, a.node.log, a.waiter, a.node.projections)
	if err != nil {
		return err
	}
	keeper := outbox.NewKeeper(a.node.pool, outboxTopics(), cfg.outbox(), a.node.log)
	a.metrics.Register(outboxFigures{pool: a.node.pool, keeper: keeper})
	backfiller := outbox.NewBackfiller(a.node.pool, a.node.store, outbox.Catalog(), a.node.log)
	a.parts = append(a.parts, runner.Run, a.node.workshop().Run, keeper.Run, backfiller.Run)
	return nil
}

// addWorkers runs what reacts to events.
func (a *app) addWorkers(ctx context.Context, cfg Config, handler *commands.Handler) error {
	if !cfg.has("worker") {
		return nil
	}
	sender, err := mail.Open(cfg.SMTPURL.Reveal(), filepath.Join(cfg.DataDir, "mail"), cfg.MailFrom)
	if err != nil {
		return usageError{err}
	}
	subscriptions := subscription.New(a.node.pool, a.node.store, a.tail, a.node.log)
	figures := newSubscriptionFigures(subscriptions)
	a.metrics.Register(figures)
	router := workers.New(subscriptions, a.node.log)
	router.Observe(figures.observe)
	secrets, err := a.secrets(ctx, "email", "verify")
	if err != nil {
		return err
	}
	verifications, err := auth.NewVerifications(secrets["verify"])
	if err != nil {
		return err
	}
	workers.Catalog(router, workers.Tools{
		Commands: handler, Mail: sender, Log: a.node.log, Verify: verifications,
		Address: func(email string) uuid.UUID { return auth.EmailKey(secrets["email"], email) },
	})
	a.parts = append(a.parts, router.Run, subscriptions.PruneEffects)
	return nil
}

// addRelay forwards the outbox's messages where there is somewhere to forward them to.
func (a *app) addRelay(cfg Config) {
	if !cfg.has("relay") || cfg.NATSURL == "" {
		return
	}
	figures := newRelayFigures(a.node.pool)
	a.metrics.Register(figures)
	c := relay.Config{URL: cfg.NATSURL.Reveal(), Prefix: cfg.NATSPrefix, Topics: outboxTopics()}
	r := relay.New(a.node.pool, c, a.node.log, figures.count)
	a.metrics.Gauge("atlas_relay_connected", "1 where this process has a connection to NATS.", func() float64 { return yes(r.Connected()) })
	a.parts = append(a.parts, r.Run)
}

// addAPI makes the API. A process without the role api serves only its probes.
func (a *app) addAPI(ctx context.Context, cfg Config, handler *commands.Handler, waker *eventstore.Waker) error {
	secrets, err := a.secrets(ctx, "email", "refresh", "cursor", "limits", "verify", "device")
	if err != nil {
		return err
	}
	if err := a.addLimits(cfg, secrets["limits"]); err != nil {
		return err
	}
	proxies, err := cfg.trustedProxies()
	if err != nil {
		return err
	}
	tokens, err := a.addTokens(ctx, cfg, handler, waker)
	if err != nil {
		return err
	}
	authenticator := auth.NewAuthenticator(tokens, a.revocations, handler)
	a.keyUses = auth.NewKeyUses(a.node.pool, time.Now, a.node.log)
	a.parts = append(a.parts, a.keyUses.Run)
	apiKeys := auth.NewAPIKeys(writeapi.KeyTruth(handler), a.revocations, a.keyUses.Used, time.Now)
	a.api = httpapi.New(httpapi.Config{
		Title:          "Atlas",
		Version:        version,
		PublicURL:      cfg.PublicURL,
		Logger:         a.node.log,
		Authenticator:  auth.NewCredentials(authenticator, apiKeys),
		AuthErrors:     []*fault.Fault{auth.ErrAPIKeyInvalid, auth.ErrTokenInvalid, auth.ErrTokenExpired, auth.ErrTokenRevoked, auth.ErrRevocationsUnknown},
		StepUp:         authenticator.StepUp,
		StepUpErrors:   []*fault.Fault{auth.ErrStepUpRequired},
		Observer:       a.metrics,
		CursorKey:      secrets["cursor"],
		Limits:         a.limits,
		TrustedProxies: proxies,
	})
	a.addProbes()
	if !cfg.has("api") {
		return nil
	}
	a.api.Handle("/.well-known/jwks.json", "GET", jwks(tokens))
	return a.addEndpoints(ctx, cfg, handler, tokens, secrets)
}

// addEndpoints registers the two halves of the REST API.
func (a *app) addEndpoints(ctx context.Context, cfg Config, handler *commands.Handler, tokens *auth.Tokens, secrets map[string][]byte) error {
	passwords, err := auth.NewHasher(auth.DefaultCost())
	if err != nil {
		return err
	}
	refresh, err := auth.NewRefresh(secrets["refresh"])
	if err != nil {
		return err
	}
	verifications, err := auth.NewVerifications(secrets["verify"])
	if err != nil {
		return err
	}
	a.metrics.Counter("atlas_password_hashes_total", "Passwords that were hashed.", func() float64 { return float64(passwords.Hashes()) })
	signIns := failures.NewStore(a.node.pool)
	subscriptions, err := a.subscriptions(ctx)
	if err != nil {
		return err
	}
	counters := auth.NewRefreshStore(refresh, a.node.pool)
	a.parts = append(a.parts, signIns.Pruner(a.node.log), counters.Pruner(a.node.log))
	(&writeapi.Server{
		Commands:  handler,
		Accounts:  handler,
		Passwords: passwords,
		Access:    tokens,
		Refresh:   refresh,
		Counters:  counters,
		Subjects:  a.node.keys,
		Delay:     a.limits.LoginDelay(),
		Failures:  signIns,
		Devices:   auth.NewDevices(secrets["device"]),
		Verify:    verifications,
		Verified:  cfg.development(),
		Origin:    writeapi.Origin(cfg.PublicURL),
		Secure:    strings.HasPrefix(cfg.PublicURL, "https://"),
		EmailKey:  secrets["email"],
		Clock:     time.Now,

		Subscriptions: subscriptions,
	}).Routes(a.api)
	a.feeds = feed.New(a.node.store, a.tail, a.node.log, feed.Config{PerNode: cfg.Feeds, PerKey: cfg.FeedsPerKey})
	(&readapi.Server{
		Reader:   projections.NewReader(a.node.pool),
		Log:      a.node.store,
		Waiter:   a.waiter,
		Workshop: a.node.workshop(),
		Desk:     engine.NewDesk(a.node.store, a.node.pool, a.node.projections),
		Limits:   a.limits,
		Failures: signIns,
		Uses:     a.keyUses,
		Feeds:    a.feeds,
		Audit:    a.node.log,
		EmailKey: secrets["email"],
		Clock:    time.Now,

		Subscriptions: subscriptions,
	}).Routes(a.api)
	return nil
}

// subscriptions returns those that are used over HTTP. The names of Atlas's own workers are taken before anybody asks for
// one, whether the workers run here or not.
func (a *app) subscriptions(ctx context.Context) (*subscription.Log, error) {
	l := subscription.New(a.node.pool, a.node.store, a.tail, a.node.log)
	router := workers.New(l, a.node.log)
	workers.Catalog(router, workers.Tools{Log: a.node.log})
	return l, router.Prepare(ctx)
}

// secrets returns secrets that all nodes share, by name.
func (a *app) secrets(ctx context.Context, names ...string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, name := range names {
		secret, err := a.node.keys.Secret(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("server secrets: %w", err)
		}
		all[name] = secret
	}
	return all, nil
}
