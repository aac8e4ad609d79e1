package engine

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// NodeLives is a condition on a row n of atlas.projection_nodes: the process is there, as far as the database knows. What
// refers to a row for which it does not hold is free to be taken: at once after the process stopped or was killed, and
// within ten seconds after the network cut it off or somebody stopped it in its tracks.
const NodeLives = nodeLives

// Presence makes a process one of the nodes, for what is leased as projections are and is none. It keeps one connection of
// the pool. It is not safe for concurrent use.
type Presence struct {
	presence *presence
	pool     *pgxpool.Pool
}

// NewPresence returns a presence that begins with its first renewal.
func NewPresence(pool *pgxpool.Pool) *Presence {
	return &Presence{presence: bystander(), pool: pool}
}

// ID is what refers to the process.
func (p *Presence) ID() uuid.UUID { return p.presence.id }

// Renew says that the process is there, where it is time to: call it a few times a second. After an error the process may
// count as gone.
func (p *Presence) Renew(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, leaseTime)
	defer done()
	err := p.presence.connect(ctx, p.pool)
	if err == nil {
		err = p.presence.renew(ctx)
	}
	if err != nil {
		p.presence.disconnect()
	}
	return err
}

// Leave ends the presence: what refers to the process refers to nobody then.
func (p *Presence) Leave(ctx context.Context) error { return p.presence.leave(ctx, p.pool) }
