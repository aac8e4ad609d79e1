package sealing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// StoredKey is a subject's key as the database holds it: wrapped by a master key, and useless without that; or a
// tombstone.
type StoredKey struct {
	Subject     uuid.UUID  `json:"subject"`
	Wrapped     []byte     `json:"wrapped,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	ForgottenAt *time.Time `json:"forgotten_at,omitempty"`
}

// StoredSecret is a secret that all nodes share, wrapped likewise.
type StoredSecret struct {
	Name      string    `json:"name"`
	Wrapped   []byte    `json:"wrapped"`
	CreatedAt time.Time `json:"created_at"`
}

// ErrOtherKey says that a key or a secret is to be taken over, and another one is already in use in its place.
var ErrOtherKey = errors.New("another one is in use here")

// checkSecret is the secret that only tells whether a master key fits. Every database has its own.
const checkSecret = "check"

// Stored returns subject keys in the order of their subjects, after one.
func (k *Keys) Stored(ctx context.Context, after uuid.UUID, limit int) ([]StoredKey, error) {
	const q = `
		SELECT subject, wrapped, created_at, forgotten_at
		FROM atlas.subject_keys
		WHERE subject > $1
		ORDER BY subject
		LIMIT $2`
	rows, err := k.pool.Query(ctx, q, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read subject keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StoredKey])
	if err != nil {
		return nil, fmt.Errorf("read subject keys: %w", err)
	}
	return keys, nil
}

// StoredSecrets returns the secrets that all nodes share.
func (k *Keys) StoredSecrets(ctx context.Context) ([]StoredSecret, error) {
	const q = `SELECT name, wrapped, created_at FROM atlas.server_secrets WHERE name <> $1 ORDER BY name`
	rows, err := k.pool.Query(ctx, q, checkSecret)
	if err != nil {
		return nil, fmt.Errorf("read server secrets: %w", err)
	}
	secrets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StoredSecret])
	if err != nil {
		return nil, fmt.Errorf("read server secrets: %w", err)
	}
	return secrets, nil
}

// Check refuses a key that this process's master keys do not unwrap.
func (k *Keys) Check(s StoredKey) error {
	if s.Wrapped == nil && s.ForgottenAt != nil {
		return nil
	}
	if s.ForgottenAt != nil {
		return fmt.Errorf("key of subject %s: it is there and forgotten", s.Subject)
	}
	if _, err := k.master.unwrap(s.Wrapped, "subject/"+s.Subject.String()); err != nil {
		return fmt.Errorf("key of subject %s: %w", s.Subject, err)
	}
	return nil
}

// CheckSecret refuses a secret that this process's master keys do not unwrap.
func (k *Keys) CheckSecret(s StoredSecret) error {
	if _, err := k.master.unwrap(s.Wrapped, "secret/"+s.Name); err != nil {
		return fmt.Errorf("secret %s: %w", s.Name, err)
	}
	return nil
}

// Take takes over subject keys of another database. A tombstone on either side wins. A subject that has another key
// here is ErrOtherKey. Taking the same keys twice changes nothing.
func (k *Keys) Take(ctx context.Context, keys []StoredKey) error {
	const insert = `
		INSERT INTO atlas.subject_keys AS s (subject, wrapped, created_at, forgotten_at)
		SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::timestamptz[], $4::timestamptz[]) AS n (subject, wrapped, created, forgotten)
		ORDER BY subject
		ON CONFLICT (subject) DO UPDATE SET wrapped = NULL, forgotten_at = excluded.forgotten_at
		WHERE s.forgotten_at IS NULL AND excluded.forgotten_at IS NOT NULL`
	const others = `
		SELECT s.subject, s.wrapped, n.wrapped
		FROM unnest($1::uuid[], $2::bytea[]) AS n (subject, wrapped) JOIN atlas.subject_keys s ON s.subject = n.subject
		WHERE s.wrapped <> n.wrapped`
	subjects, wrapped := make([]uuid.UUID, len(keys)), make([][]byte, len(keys))
	created, forgotten := make([]time.Time, len(keys)), make([]*time.Time, len(keys))
	for i, s := range keys {
		subjects[i], wrapped[i], created[i], forgotten[i] = s.Subject, s.Wrapped, s.CreatedAt, s.ForgottenAt
	}
	if _, err := k.pool.Exec(ctx, insert, subjects, wrapped, created, forgotten); err != nil {
		return fmt.Errorf("take subject keys over: %w", err)
	}
	rows, err := k.pool.Query(ctx, others, subjects, wrapped)
	if err != nil {
		return fmt.Errorf("compare subject keys: %w", err)
	}
	var subject uuid.UUID
	var ours, theirs []byte
	_, err = pgx.ForEachRow(rows, []any{&subject, &ours, &theirs}, func() error {
		return k.same(ours, theirs, "subject/"+subject.String())
	})
	return err
}

// TakeSecret takes over a secret of another database. Where another one is in use, replace decides between replacing it
// and ErrOtherKey. Nodes that are running have read their secrets already: they need a restart.
func (k *Keys) TakeSecret(ctx context.Context, s StoredSecret, replace bool) error {
	const q = `
		INSERT INTO atlas.server_secrets AS s (name, wrapped, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET wrapped = excluded.wrapped, created_at = excluded.created_at WHERE $4
		RETURNING name`
	const sel = `SELECT wrapped FROM atlas.server_secrets WHERE name = $1`
	if s.Name == checkSecret {
		return nil
	}
	err := k.pool.QueryRow(ctx, q, s.Name, s.Wrapped, s.CreatedAt, replace).Scan(new(string))
	if err == nil {
		return nil
	}
	var ours []byte
	if errors.Is(err, pgx.ErrNoRows) {
		if err = k.pool.QueryRow(ctx, sel, s.Name).Scan(&ours); err == nil {
			return k.same(ours, s.Wrapped, "secret/"+s.Name)
		}
	}
	return fmt.Errorf("take secret %s over: %w", s.Name, err)
}

// same holds that two wrapped keys are one: wrapping the same key twice gives different bytes.
func (k *Keys) same(ours, theirs []byte, name string) error {
	a, errA := k.master.unwrap(ours, name)
	b, errB := k.master.unwrap(theirs, name)
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("%s: %w", name, ErrOtherKey)
	}
	return nil
}
