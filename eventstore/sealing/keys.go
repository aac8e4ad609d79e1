package sealing

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// ErrForgotten says that a person's data was erased for good, so nothing can be written about them any more.
var ErrForgotten = fault.New(fault.Gone, "subject_forgotten", "this person's data was erased for good")

// ErrMasterKey says that the master key given is not the one this database was sealed with.
var ErrMasterKey = errors.New("the master key does not belong to this database; give the one it was first started with")

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the tables of keys.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "sealing", FS: sub, Grants: grants}
}

// Keys seals and opens personal data. It implements eventstore.Sealer and is safe for concurrent use.
type Keys struct {
	pool   *pgxpool.Pool
	master *Master
	cache  *cache
}

// New returns the keys in the database, which must be migrated. A master key that does not fit is ErrMasterKey.
func New(ctx context.Context, pool *pgxpool.Pool, master *Master) (*Keys, error) {
	k := &Keys{pool: pool, master: master, cache: newCache()}
	if _, err := k.Secret(ctx, "check"); err != nil {
		return nil, err
	}
	return k, nil
}

// Secret returns 32 random bytes that all nodes share under a name. The first call makes them.
func (k *Keys) Secret(ctx context.Context, name string) ([]byte, error) {
	const insert = `INSERT INTO atlas.server_secrets (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	const sel = `SELECT wrapped FROM atlas.server_secrets WHERE name = $1`
	var wrapped []byte
	err := k.pool.QueryRow(ctx, sel, name).Scan(&wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := k.pool.Exec(ctx, insert, name, k.master.wrap(newKey(), "secret/"+name)); err != nil {
			return nil, fmt.Errorf("make secret %s: %w", name, err)
		}
		err = k.pool.QueryRow(ctx, sel, name).Scan(&wrapped)
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	secret, err := k.master.unwrap(wrapped, "secret/"+name)
	if err != nil {
		return nil, fmt.Errorf("%w (secret %s: %w)", ErrMasterKey, name, err)
	}
	return secret, nil
}

// Seal implements eventstore.Sealer.
func (k *Keys) Seal(ctx context.Context, envelopes []*eventstore.Envelope) error {
	keys, err := k.keys(ctx, subjects(envelopes), true)
	if err != nil {
		return err
	}
	for _, e := range envelopes {
		switch key := keys[e.Subject]; {
		case key.err != nil:
			return key.err
		case key.aead == nil:
			return ErrForgotten
		default:
			e.Sealed = encrypt(key.aead, e.Plain, e.Bound)
		}
	}
	return nil
}

// Open implements eventstore.Sealer.
func (k *Keys) Open(ctx context.Context, envelopes []*eventstore.Envelope) error {
	keys, err := k.keys(ctx, subjects(envelopes), false)
	if err != nil {
		return err
	}
	for _, e := range envelopes {
		if e.Plain, err = keys.open(e); err != nil {
			e.Err = fmt.Errorf("value of %s, bound to %s: %w", e.Subject, e.Bound, err)
		}
	}
	return nil
}

// subjectKey is what is known of a subject's key. The zero value is a forgotten one's.
type subjectKey struct {
	aead cipher.AEAD
	err  error // the key is there but damaged
}

// keyring has the keys of some subjects. One without an entry has never had a key.
type keyring map[uuid.UUID]subjectKey

var errNoKey = errors.New("the subject has neither a key nor a tombstone")

// open returns what is sealed in the envelope, or nil where the subject is forgotten.
func (r keyring) open(e *eventstore.Envelope) ([]byte, error) {
	key, there := r[e.Subject]
	switch {
	case !there:
		return nil, errNoKey
	case key.aead == nil:
		return nil, key.err
	}
	return decrypt(key.aead, e.Sealed, e.Bound)
}

// keys returns the subjects' keys. Missing ones are made if asked for.
func (k *Keys) keys(ctx context.Context, subjects []uuid.UUID, make bool) (keyring, error) {
	found, missing := k.cache.find(subjects)
	if len(missing) == 0 {
		return found, nil
	}
	if err := k.fetch(ctx, missing, found); err != nil {
		return nil, err
	}
	if !make {
		return found, nil
	}
	missing = slices.DeleteFunc(missing, func(s uuid.UUID) bool { _, ok := found[s]; return ok })
	if len(missing) == 0 {
		return found, nil
	}
	if err := k.create(ctx, missing); err != nil {
		return nil, err
	}
	return found, k.fetch(ctx, missing, found)
}

// fetch reads the subjects' keys into found. What is not there stays out of it. A key under a master key that this
// process was not given is an error for all: its configuration is wrong, not the key.
func (k *Keys) fetch(ctx context.Context, subjects []uuid.UUID, found keyring) error {
	const q = `SELECT subject, wrapped FROM atlas.subject_keys WHERE subject = ANY ($1)`
	rows, err := k.pool.Query(ctx, q, subjects)
	if err != nil {
		return fmt.Errorf("read subject keys: %w", err)
	}
	var subject uuid.UUID
	var wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&subject, &wrapped}, func() error {
		if wrapped == nil {
			found[subject] = subjectKey{}
			k.cache.put(subject, nil)
			return nil
		}
		key, err := k.master.unwrap(wrapped, "subject/"+subject.String())
		switch {
		case errors.Is(err, errMaster):
			return fmt.Errorf("key of subject %s: %w", subject, err)
		case err != nil:
			found[subject] = subjectKey{err: fmt.Errorf("key of subject %s: %w", subject, err)}
		default:
			found[subject] = subjectKey{aead: newAEAD(key)}
			k.cache.put(subject, found[subject].aead)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read subject keys: %w", err)
	}
	return nil
}

// create makes keys for subjects that have none and are not forgotten. Where another node is faster, its key stays.
func (k *Keys) create(ctx context.Context, subjects []uuid.UUID) error {
	const q = `
		INSERT INTO atlas.subject_keys (subject, wrapped)
		SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS n (subject, wrapped)
		ORDER BY subject
		ON CONFLICT DO NOTHING`
	wrapped := make([][]byte, len(subjects))
	for i, s := range subjects {
		wrapped[i] = k.master.wrap(newKey(), "subject/"+s.String())
	}
	if _, err := k.pool.Exec(ctx, q, subjects, wrapped); err != nil {
		return fmt.Errorf("make subject keys: %w", err)
	}
	return nil
}

func newKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails
	return key
}

// subjects returns whose envelopes they are, each once.
func subjects(envelopes []*eventstore.Envelope) []uuid.UUID {
	seen := map[uuid.UUID]bool{}
	var all []uuid.UUID
	for _, e := range envelopes {
		if !seen[e.Subject] {
			seen[e.Subject] = true
			all = append(all, e.Subject)
		}
	}
	return all
}
