package relay

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
	"github.com/atlas-platform/atlas/projections/engine"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the relay's table. It needs those of package engine, and the topics of package outbox.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "relay", FS: sub, Grants: grants}
}

const (
	leaseLook = 250 * time.Millisecond // how often a process looks for topics that nobody forwards
	lonely    = 10 * time.Second       // how long one that NATS is away from keeps what it has
	attending = time.Minute            // how often a process says that the topics are worked for
)

// Config is what a relay works with.
type Config struct {
	URL    string // see CheckURL
	Prefix string // what the names of streams and subjects begin with
	Topics []string
}

// Relay forwards topics of the outbox to NATS JetStream. Any number of processes may run one: each topic is forwarded by the
// one that holds it.
type Relay struct {
	config     Config
	pool       *pgxpool.Pool
	log        *slog.Logger
	connection *connection
	presence   *engine.Presence // while it runs
	count      func(topic string, n int)
	seen       time.Time // when NATS was there last
	added      bool      // the topics have their rows, as far as is known

	mu    sync.Mutex
	held  map[string]*turn
	works sync.WaitGroup
}

// turn is a lease of a topic that this process has.
type turn struct {
	epoch int64
	end   context.CancelFunc
}

// New returns a relay. It tells count of the messages that the broker acknowledged.
func New(pool *pgxpool.Pool, c Config, log *slog.Logger, count func(topic string, n int)) *Relay {
	return &Relay{
		config: c, pool: pool, log: log, count: count, held: map[string]*turn{},
		connection: &connection{url: c.URL, log: log},
	}
}

// Connected says whether NATS is there now, for this process.
func (r *Relay) Connected() bool { return r.connection.stream() != nil }

// Run forwards until ctx ends; what the broker acknowledges within three seconds then is taken in, and the topics are given
// back for another process to take at once. It survives the loss of NATS and of the database, whatever is wrong with them.
func (r *Relay) Run(ctx context.Context) error {
	err := engine.Present(ctx, r.pool, func(p *engine.Presence) error {
		r.presence = p
		r.work(ctx)
		return nil
	})
	if err != nil {
		r.log.Warn("topics not given back; others take them soon", "error", err)
	}
	return nil
}

// work forwards until ctx ends and what was in hand then is settled.
func (r *Relay) work(ctx context.Context) {
	r.works.Go(func() { r.connection.keep(ctx) })
	r.works.Go(func() { r.attend(ctx) })
	for ctx.Err() == nil {
		if err := r.keepLeases(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("relay's leases not renewed", "error", err)
		}
		wait.For(ctx, leaseLook)
	}
	r.works.Wait()
	r.connection.close()
}

// attend keeps the topics' groups from counting as abandoned while there is a process that would forward, whatever it waits
// for: what is not forwarded stays.
func (r *Relay) attend(ctx context.Context) {
	for ctx.Err() == nil {
		for _, topic := range r.config.Topics {
			if err := (desk{pool: r.pool, topic: topic}).attend(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("relay waits for the database", "error", err)
			}
		}
		wait.For(ctx, attending)
	}
}

// keepLeases renews what the process holds, and takes what nobody holds. A process without NATS leaves the topics to others.
func (r *Relay) keepLeases(ctx context.Context) error {
	if r.Connected() {
		r.seen = time.Now()
	}
	if time.Since(r.seen) > lonely {
		if len(r.held) == 0 {
			return nil
		}
		r.startHeld(ctx, nil)
		return r.presence.Leave(ctx)
	}
	if err := r.presence.Renew(ctx); err != nil {
		return err
	}
	held, err := r.hold(ctx)
	if err != nil {
		return err
	}
	r.startHeld(ctx, held)
	return nil
}

// hold takes the topics that nobody holds, and returns all that the process holds, with their epochs.
func (r *Relay) hold(ctx context.Context) (map[string]int64, error) {
	const add = `INSERT INTO atlas.relays (topic) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`
	const take = `
		WITH free AS (
			SELECT topic
			FROM atlas.relays
			WHERE topic = ANY ($2)
				AND holder IS DISTINCT FROM $1
				AND NOT EXISTS (SELECT FROM atlas.projection_nodes n WHERE n.id = holder AND ` + engine.NodeLives + `)
			ORDER BY topic COLLATE "C"
			FOR UPDATE SKIP LOCKED
		)
		UPDATE atlas.relays r SET holder = $1, epoch = epoch + 1
		FROM free
		WHERE r.topic = free.topic`
	const list = `SELECT topic, epoch FROM atlas.relays WHERE holder = $1 AND topic = ANY ($2)`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	if !r.added {
		if _, err := r.pool.Exec(ctx, add, r.config.Topics); err != nil {
			return nil, err
		}
		for _, topic := range r.config.Topics {
			if err := (desk{pool: r.pool, topic: topic}).join(ctx); err != nil {
				return nil, err
			}
		}
		r.added = true
	}
	if _, err := r.pool.Exec(ctx, take, r.presence.ID(), r.config.Topics); err != nil {
		return nil, err
	}
	rows, err := r.pool.Query(ctx, list, r.presence.ID(), r.config.Topics)
	if err != nil {
		return nil, err
	}
	held := map[string]int64{}
	var topic string
	var epoch int64
	_, err = pgx.ForEachRow(rows, []any{&topic, &epoch}, func() error { held[topic] = epoch; return nil })
	return held, err
}

// startHeld starts what the process holds and does not forward yet, and ends what it forwards and holds no more.
func (r *Relay) startHeld(ctx context.Context, held map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, t := range r.held {
		if epoch, mine := held[topic]; !mine || epoch != t.epoch {
			r.log.Info("topic is forwarded by another process now", "topic", topic)
			t.end()
			delete(r.held, topic)
			r.added = false // its row may be gone, with a database that was put in the place of another
		}
	}
	for topic, epoch := range held {
		if r.held[topic] != nil {
			continue
		}
		working, end := context.WithCancel(ctx)
		r.held[topic] = &turn{epoch: epoch, end: end}
		f := &forwarder{
			names: names{r.config.Prefix, topic}, connection: r.connection, count: r.count, log: r.log.With("topic", topic),
			desk: desk{pool: r.pool, topic: topic, holder: r.presence.ID(), epoch: epoch},
		}
		f.log.Info("topic is forwarded by this process", "epoch", epoch)
		r.works.Go(func() { f.run(working) })
	}
}
