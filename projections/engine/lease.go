package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/wait"
)

// How long a node that the network has cut off keeps what it holds, how often it says that it is there, how often it looks
// for what nobody holds, and how long it may take to give back what it holds.
const (
	leaseTime  = 10 * time.Second
	leaseRenew = 3 * time.Second
	leaseLook  = 250 * time.Millisecond
	leaveTime  = 5 * time.Second
)

// presence is a process's row among the nodes, on a connection that is kept for it: what the process holds is its own for
// as long as that session lives and the row is renewed.
type presence struct {
	id      uuid.UUID
	name    string
	runs    []string // versions that it moves
	reads   []string // versions that it only reads
	knows   []string // types of events
	conn    *pgxpool.Conn
	renewed time.Time
}

func newPresence(v *events.Vocabulary) *presence {
	p := bystander()
	p.knows = v.Names()
	return p
}

// bystander is the presence of a process that has nothing to do with projections.
func bystander() *presence {
	host, _ := os.Hostname()
	return &presence{id: uuid.New(), name: fmt.Sprintf("%s/%d", host, os.Getpid()), runs: []string{}, reads: []string{}, knows: []string{}}
}

// Attend says, until ctx ends, that the process reads the tables of projections, so that nobody drops them. It is for
// processes that run none of them: a Runner says so itself.
func Attend(ctx context.Context, store *eventstore.Store, pool *pgxpool.Pool, log *slog.Logger, projections []Projection) error {
	p := newPresence(store.Vocabulary())
	for _, one := range projections {
		p.reads = append(p.reads, one.ID().String())
	}
	for ctx.Err() == nil {
		if err := p.attend(ctx, pool); err != nil && ctx.Err() == nil {
			log.Warn("process not among those that read projections", "error", err)
		}
		wait.For(ctx, leaseLook)
	}
	if err := p.leave(ctx, pool); err != nil {
		log.Warn("process still among those that read projections, for some seconds", "error", err)
	}
	return nil
}

// attend says that the process is there, where it is time to. After an error it does not keep the connection.
func (p *presence) attend(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, done := context.WithTimeout(ctx, leaseTime)
	defer done()
	err := p.connect(ctx, pool)
	if err == nil {
		err = p.renew(ctx)
	}
	if err != nil {
		p.disconnect()
	}
	return err
}

// connect makes sure of the connection.
func (p *presence) connect(ctx context.Context, pool *pgxpool.Pool) (err error) {
	if p.conn != nil && !p.conn.Conn().IsClosed() {
		return nil
	}
	p.disconnect()
	p.conn, err = pool.Acquire(ctx)
	p.renewed = time.Time{}
	return err
}

func (p *presence) disconnect() {
	if p.conn != nil {
		p.conn.Release()
		p.conn = nil
	}
}

// renew says that the process is there, where it is time to. It forgets nodes that are long gone.
func (p *presence) renew(ctx context.Context) error {
	const q = `
		INSERT INTO atlas.projection_nodes (id, name, pid, session_at, until, runs, reads, knows)
		SELECT $1, $2, pg_backend_pid(), backend_start, clock_timestamp() + $3::interval, $4, $5, $6
		FROM pg_stat_activity WHERE pid = pg_backend_pid()
		ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, session_at = excluded.session_at, until = excluded.until`
	const sweep = `DELETE FROM atlas.projection_nodes WHERE until < clock_timestamp() - interval '1 hour'`
	if time.Since(p.renewed) < leaseRenew {
		return nil
	}
	at := time.Now()
	if _, err := p.conn.Exec(ctx, q, p.id, p.name, leaseTime, p.runs, p.reads, p.knows); err != nil {
		return err
	}
	if _, err := p.conn.Exec(ctx, sweep); err != nil {
		return err
	}
	p.renewed = at
	return nil
}

// nodeLives is a condition on a node n: its session is there, and its time is not up. The beginning of another role's
// session may not be seen; then its number must do.
const nodeLives = `n.until > clock_timestamp() AND EXISTS (
	SELECT FROM pg_stat_activity a WHERE a.pid = n.pid AND coalesce(a.backend_start = n.session_at, true))`

// hold takes what nobody holds of the versions, but for those to be left alone, and returns all that the process holds.
func (p *presence) hold(ctx context.Context, alone []string) (held []checkpoint, err error) {
	const take = `
		WITH free AS (
			SELECT name, version, generation
			FROM atlas.projections
			WHERE name || '_v' || version = ANY ($2)
				AND NOT name || '_v' || version = ANY ($3)
				AND state IN ('live', 'following')
				AND holder IS DISTINCT FROM $1
				AND NOT EXISTS (SELECT FROM atlas.projection_nodes n WHERE n.id = holder AND ` + nodeLives + `)
			ORDER BY name COLLATE "C", version, generation
			FOR UPDATE SKIP LOCKED
		)
		UPDATE atlas.projections p SET holder = $1, epoch = epoch + 1
		FROM free
		WHERE (p.name, p.version, p.generation) = (free.name, free.version, free.generation)
		RETURNING p.name, p.version, p.generation`
	const list = `
		SELECT name, version, generation, position, epoch, parked, coalesce((
			SELECT l.handles FROM atlas.projections l WHERE (l.name, l.version) = (p.name, p.version) AND l.state = 'live'), '{}')
		FROM atlas.projections p
		WHERE holder = $1 AND state IN ('live', 'following')
		ORDER BY name COLLATE "C", version, generation`
	if alone == nil {
		alone = []string{}
	}
	taken, err := p.conn.Query(ctx, take, p.id, p.runs, alone)
	if err != nil {
		return nil, err
	}
	var c checkpoint
	var fresh []place
	_, err = pgx.ForEachRow(taken, []any{&c.Name, &c.Version, &c.Generation}, func() error {
		fresh = append(fresh, c.place)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, pl := range fresh {
		if err := retrySoon(ctx, p.conn, pl); err != nil {
			return nil, err
		}
	}
	rows, err := p.conn.Query(ctx, list, p.id)
	if err != nil {
		return nil, err
	}
	_, err = pgx.ForEachRow(rows, []any{&c.Name, &c.Version, &c.Generation, &c.at, &c.epoch, &c.parked, &c.handles}, func() error {
		held = append(held, c)
		c.handles = nil
		return nil
	})
	return held, err
}

// giveBack gives a line to whoever takes it first.
func giveBack(ctx context.Context, pool *pgxpool.Pool, l *line) error {
	const q = `
		UPDATE atlas.projections SET holder = NULL
		WHERE name = $1 AND version = $2 AND generation = $3 AND epoch = $4`
	_, err := pool.Exec(ctx, q, l.Name, l.Version, l.Generation, l.epoch)
	return err
}

// leave gives back all that the process holds, also where ctx has ended.
func (p *presence) leave(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer done()
	p.disconnect()
	_, err := pool.Exec(ctx, `DELETE FROM atlas.projection_nodes WHERE id = $1`, p.id)
	return err
}
