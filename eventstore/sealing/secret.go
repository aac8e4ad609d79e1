package sealing

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Keep stores a secret of the caller's under a name, wrapped, unless there is one already. Rewrap covers it like others.
func (k *Keys) Keep(ctx context.Context, name string, secret []byte) error {
	const q = `INSERT INTO atlas.server_secrets (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	if _, err := k.pool.Exec(ctx, q, name, k.master.wrap(secret, "secret/"+name)); err != nil {
		return fmt.Errorf("keep secret %s: %w", name, err)
	}
	return nil
}

// Kept returns the secret under a name; kept is false where there is none. Unlike Secret it makes none.
func (k *Keys) Kept(ctx context.Context, name string) (secret []byte, kept bool, err error) {
	const q = `SELECT wrapped FROM atlas.server_secrets WHERE name = $1`
	var wrapped []byte
	err = k.pool.QueryRow(ctx, q, name).Scan(&wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err == nil {
		secret, err = k.master.unwrap(wrapped, "secret/"+name)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read secret %s: %w", name, err)
	}
	return secret, true, nil
}

// Drop destroys the secret under a name, if there is one.
func (k *Keys) Drop(ctx context.Context, name string) error {
	const q = `DELETE FROM atlas.server_secrets WHERE name = $1`
	if _, err := k.pool.Exec(ctx, q, name); err != nil {
		return fmt.Errorf("drop secret %s: %w", name, err)
	}
	return nil
}
