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

// Presence makes a process one of the nodes, for what is leased as projections are and is none. It is not safe for
// concurrent use.
type Presence struct {
	presence *presence
	pool     *pgxpool.Pool
}

// Present has do work with a presence, which begins with its first renewal and ends with do, however do ends: what refers
// to the process refers to nobody then. Until then it keeps one connection of the pool. Its error is do's, unless that is
// nil and the end could not be said: then the process counts as gone within ten seconds.
func Present(ctx context.Context, pool *pgxpool.Pool, do func(*Presence) error) (err error) {
	p := &Presence{presence: bystander(), pool: pool}
	defer func() {
		if left := p.Leave(ctx); err == nil {
			err = left
		}
	}()
	return do(p)
}

// ID is what refers to the process.
func (p *Presence) ID() uuid.UUID { return p.presence.id }

// Renew says that the process is there, where it is time to: call it a few times a second. After an error the process may
// count as gone.
func (p *Presence) Renew(ctx context.Context) error { return p.presence.attend(ctx, p.pool) }

// Leave says that the process is gone, until it renews its presence. It takes five seconds at most, and does not end with
// ctx: it is said where ctx has ended.
func (p *Presence) Leave(ctx context.Context) error { return p.presence.leave(ctx, p.pool) }
