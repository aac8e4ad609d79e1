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
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

// ErrForgotten says that a person's data was erased for good, so nothing can be written about them any more.
var ErrForgotten = fault.New(fault.Gone, "subject_forgotten", "this person's data was erased for good")

// ErrNoSecret says that no process has needed a secret of this name yet, and that these keys make none (Existing).
var ErrNoSecret = errors.New("the database has no such secret yet, since nothing that needs it has run on it")

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
	heard  func() // called when somebody turns out to be forgotten
	looks  bool   // makes no secret
}

// New returns the keys in the database, which must be migrated. A master key that does not fit is ErrMasterKey.
//
// The pool should be the keys' own, and may be small: an append inside a transaction of its caller's may need a key while
// it holds a connection, and would wait for ever where all connections of one pool are held so.
func New(ctx context.Context, pool *pgxpool.Pool, master *Master) (*Keys, error) {
	k := &Keys{pool: pool, master: master, cache: newCache(time.Now), heard: func() {}}
	if _, err := k.Secret(ctx, checkSecret); err != nil {
		return nil, err
	}
	return k, nil
}

// Existing is New for who only looks: it writes nothing, not even to a database in which nothing was sealed yet, and a secret
// that is not there is ErrNoSecret. Only what seals something makes a key.
func Existing(ctx context.Context, pool *pgxpool.Pool, master *Master) (*Keys, error) {
	k := &Keys{pool: pool, master: master, cache: newCache(time.Now), heard: func() {}, looks: true}
	if _, err := k.Secret(ctx, checkSecret); err != nil && !errors.Is(err, ErrNoSecret) {
		return nil, err
	}
	return k, nil
}

// Secret returns 32 random bytes that all nodes share under a name. The first call makes them.
func (k *Keys) Secret(ctx context.Context, name string) ([]byte, error) {
	const insert = `INSERT INTO atlas.server_secrets (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	wrapped, err := k.wrappedSecret(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) && k.looks {
		return nil, fmt.Errorf("secret %s: %w", name, ErrNoSecret)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := k.pool.Exec(ctx, insert, name, k.master.wrap(newKey(), "secret/"+name)); err != nil {
			return nil, fmt.Errorf("make secret %s: %w", name, err)
		}
		wrapped, err = k.wrappedSecret(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return k.unwrapSecret(name, wrapped)
}

// wrappedSecret reads a secret as it is stored.
func (k *Keys) wrappedSecret(ctx context.Context, name string) (wrapped []byte, err error) {
	const q = `SELECT wrapped FROM atlas.server_secrets WHERE name = $1`
	if err := k.pool.QueryRow(ctx, q, name).Scan(&wrapped); err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	return wrapped, nil
}

func (k *Keys) unwrapSecret(name string, wrapped []byte) ([]byte, error) {
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
		case key.aead == nil && e.Spare:
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

// OnForgotten has a function called whenever this process hears that somebody was forgotten, or may have been: for whoever
// else keeps in memory what was once opened. It is for the wiring, before anything runs, and for one function.
func (k *Keys) OnForgotten(do func()) { k.heard = do }

// Forgotten implements eventstore.Forgetter.
func (k *Keys) Forgotten(subjects ...uuid.UUID) {
	if k.cache.forget(subjects) {
		k.heard()
	}
}

// Unsure implements eventstore.Forgetter.
func (k *Keys) Unsure() {
	k.cache.empty()
	k.heard()
}

// Renew reads a subject's key anew, whether or not it is in memory, and whether or not there is one: who waits for it
// cannot tell. It is one statement.
func (k *Keys) Renew(ctx context.Context, subject uuid.UUID) error {
	_, _, seen := k.cache.find(nil)
	return retry(ctx, func() error { return k.fetch(ctx, []uuid.UUID{subject}, keyring{}, seen) })
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
	case there && key == (subjectKey{}):
		return nil, nil
	case e.Sealed == nil:
		return []byte{}, nil // it only asks
	case !there:
		return nil, errNoKey
	case key.err != nil:
		return nil, key.err
	}
	return decrypt(key.aead, e.Sealed, e.Bound)
}

// keys returns the subjects' keys. Missing ones are made if asked for.
func (k *Keys) keys(ctx context.Context, subjects []uuid.UUID, make bool) (keyring, error) {
	found, missing, seen := k.cache.find(subjects)
	if len(missing) == 0 {
		return found, nil
	}
	if err := retry(ctx, func() error { return k.fetch(ctx, missing, found, seen) }); err != nil {
		return nil, err
	}
	if !make {
		return found, nil
	}
	missing = slices.DeleteFunc(missing, func(s uuid.UUID) bool { _, ok := found[s]; return ok })
	if len(missing) == 0 {
		return found, nil
	}
	if err := retry(ctx, func() error { return k.create(ctx, missing) }); err != nil {
		return nil, err
	}
	return found, retry(ctx, func() error { return k.fetch(ctx, missing, found, seen) })
}

// retry does again what lost its connection: a pool only learns that a server is gone by using what it had.
func retry(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if attempt > 5 || !postgres.IsConnectionLost(err) || !wait.For(ctx, time.Duration(attempt*attempt)*20*time.Millisecond) {
			return err
		}
	}
}

// fetch reads the subjects' keys into found. What is not there stays out of it. A key under a master key that this
// process was not given is an error for all: its configuration is wrong, not the key.
func (k *Keys) fetch(ctx context.Context, subjects []uuid.UUID, found keyring, seen int) error {
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
			k.cache.put(subject, nil, seen)
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
			k.cache.put(subject, found[subject].aead, seen)
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
