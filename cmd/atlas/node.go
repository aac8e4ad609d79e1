package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/eventstore/transfer"
	"github.com/atlas-platform/atlas/eventstore/watermillsql"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/auth/failures"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers/outbox"
	"github.com/atlas-platform/atlas/workers/relay"
)

// startTimeout bounds how long a node waits for its database.
const startTimeout = 90 * time.Second

// keyConns is how many connections a node keeps for the keys of personal data. Most keys are in memory.
const keyConns = 4

// node is what every command works on: the database and the log in it.
type node struct {
	log         *slog.Logger
	guest       bool
	server      *postgres.Server // nil where the database is not ours to run
	url         string
	pool        *pgxpool.Pool
	keyPool     *pgxpool.Pool // the keys' own: see sealing.New
	guardPool   *pgxpool.Pool // one connection, for reading what is revoked
	keys        *sealing.Keys
	store       *eventstore.Store
	projections []engine.Projection
}

// openNode connects to the database, starting a private server where none is named, and brings it up to date. A guest
// works beside a server that another process runs.
func openNode(ctx context.Context, cfg Config, log *slog.Logger, guest bool) (*node, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("it did not answer in time"))
	defer cancel()
	n, err := openDatabase(ctx, cfg, log, guest)
	if err != nil {
		return nil, err
	}
	if err := n.open(ctx, cfg); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *node) open(ctx context.Context, cfg Config) error {
	if err := n.migrate(ctx, cfg); err != nil {
		return err
	}
	return n.openLog(ctx, cfg)
}

// openDatabase connects to the database and leaves it as it is.
func openDatabase(ctx context.Context, cfg Config, log *slog.Logger, guest bool) (*node, error) {
	n := &node{log: log, guest: guest}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("it did not answer in time"))
	defer cancel()
	if err := n.connect(ctx, cfg); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *node) connect(ctx context.Context, cfg Config) (err error) {
	n.url = cfg.DatabaseURL.Reveal()
	if n.url == "" {
		if n.url, err = n.startServer(ctx, cfg); err != nil {
			return err
		}
	}
	if n.pool, err = postgres.Connect(ctx, n.url); err != nil {
		return usageError{fmt.Errorf("ATLAS_DATABASE_URL: %w", err)}
	}
	return postgres.WaitReady(ctx, n.pool)
}

// startServer starts the private server. Where another process has it, a guest attaches to that one; the socket would
// not tell, since it outlives a server that was killed.
func (n *node) startServer(ctx context.Context, cfg Config) (string, error) {
	server, err := postgres.Start(ctx, postgres.ServerConfig{Dir: cfg.DataDir, BinDir: cfg.PostgresBin, Logger: n.log})
	if n.guest && errors.Is(err, postgres.ErrInUse) {
		return postgres.Attach(cfg.DataDir)
	}
	if err != nil {
		return "", err
	}
	n.server = server
	return server.URL(), nil
}

// openLog opens the log and makes the read tables.
func (n *node) openLog(ctx context.Context, cfg Config) error {
	master, err := cfg.masterKey()
	if err != nil {
		return err
	}
	if n.keyPool, err = postgres.Connect(ctx, n.url, postgres.MaxConns(keyConns)); err != nil {
		return err
	}
	if n.guardPool, err = postgres.Connect(ctx, n.url, postgres.MaxConns(1)); err != nil {
		return err
	}
	if n.keys, err = sealing.New(ctx, n.keyPool, master); err != nil {
		return err
	}
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		return err
	}
	n.store = eventstore.New(n.pool, vocabulary, n.keys)
	n.projections = catalog()
	if err := engine.Prepare(ctx, n.pool, n.projections); err != nil {
		return err
	}
	if err := engine.Register(ctx, n.store, n.pool, n.projections); err != nil {
		return err
	}
	settled, err := outbox.Settle(ctx, n.pool, outboxTopics(), false)
	if settled {
		n.log.Warn("the database was restored from another cluster: the outbox's offsets were rewritten")
	}
	return err
}

// catalog lists what runs on the log: the read tables and the outbox.
func catalog() []engine.Projection { return append(projections.Catalog(), outbox.Projection()) }

// migrations lists what the rooms keep in the database, in the order of their needs.
func migrations() []postgres.MigrationSet {
	return []postgres.MigrationSet{
		eventstore.Migrations(),
		chain.Migrations(),
		sealing.Migrations(),
		subscription.Migrations(),
		watermillsql.Migrations(),
		engine.Migrations(),
		{Name: "auth", FS: auth.Migrations(), Grants: auth.Grants()},
		failures.Migrations(),
		outbox.Migrations(),
		relay.Migrations(),
		transfer.Migrations(),
	}
}

// close gives back everything. A private server is stopped.
func (n *node) close() {
	for _, pool := range []*pgxpool.Pool{n.pool, n.keyPool, n.guardPool} {
		if pool != nil {
			pool.Close()
		}
	}
	if n.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.server.Stop(ctx); err != nil {
			n.log.Warn("private server stopped in a hurry", "error", err)
		}
	}
}
