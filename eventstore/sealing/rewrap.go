package sealing

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// rewrapBatch is how many subject keys are rewrapped in one transaction.
const rewrapBatch = 500

// Wrapped says how many keys one master key wraps.
type Wrapped struct {
	Master   string // the beginning of the master key's hash, in hexadecimal
	Given    bool   // this process has the master key
	First    bool   // and it is the one that wraps
	Subjects int64
	Secrets  int64
}

// Status returns what each master key wraps, those given first, and how many subjects are forgotten.
func (k *Keys) Status(ctx context.Context) (all []Wrapped, forgotten int64, err error) {
	const q = `
		SELECT encode(substring(wrapped FOR 8), 'hex') AS master, sum(subjects)::bigint, sum(secrets)::bigint
		FROM (
			SELECT wrapped, 1 AS subjects, 0 AS secrets FROM atlas.subject_keys WHERE wrapped IS NOT NULL
			UNION ALL
			SELECT wrapped, 0, 1 FROM atlas.server_secrets
		) keys
		GROUP BY master
		ORDER BY master`
	rows, err := k.pool.Query(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("count keys: %w", err)
	}
	found := map[string]Wrapped{}
	var others []Wrapped
	var w Wrapped
	_, err = pgx.ForEachRow(rows, []any{&w.Master, &w.Subjects, &w.Secrets}, func() error {
		found[w.Master] = w
		if !k.master.has(w.Master) {
			others = append(others, w)
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("count keys: %w", err)
	}
	for i, m := range k.master.keys {
		id := hex.EncodeToString(m.id[:])
		all = append(all, Wrapped{Master: id, Given: true, First: i == 0, Subjects: found[id].Subjects, Secrets: found[id].Secrets})
	}
	const tombstones = `SELECT count(*) FROM atlas.subject_keys WHERE wrapped IS NULL`
	if err := k.pool.QueryRow(ctx, tombstones).Scan(&forgotten); err != nil {
		return nil, 0, fmt.Errorf("count tombstones: %w", err)
	}
	return append(all, others...), forgotten, nil
}

// Rewrap puts every key that another master key wraps under the first one, and returns how many. It may run beside nodes
// at work, be stopped and be begun again: what is done is done. progress, if given, hears how many subject keys were
// looked at, and how many there were at the start.
//
// A key that cannot be unwrapped stays as it is; the others are rewrapped, and then it is an error that names the first
// of those. New keys go on being made under whichever master key comes first on their node: Status tells what is left.
func (k *Keys) Rewrap(ctx context.Context, progress func(looked, total int64)) (done int64, err error) {
	secrets, err := k.rewrapSecrets(ctx)
	if err != nil {
		return 0, fmt.Errorf("rewrap secrets: %w", err)
	}
	var looked, total int64
	if err := k.pool.QueryRow(ctx, `SELECT count(*) FROM atlas.subject_keys`).Scan(&total); err != nil {
		return secrets, fmt.Errorf("rewrap subject keys: %w", err)
	}
	done = secrets
	var stuck error
	for after, more := uuid.Nil, true; more; {
		var b batch
		err := pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) (err error) {
			b, err = k.rewrapAfter(ctx, tx, after)
			return err
		})
		if err != nil {
			return done, fmt.Errorf("rewrap subject keys: %w", err)
		}
		if stuck == nil {
			stuck = b.stuck
		}
		after, more, looked, done = b.last, b.looked == rewrapBatch, looked+b.looked, done+b.done
		if progress != nil {
			progress(looked, max(looked, total))
		}
	}
	if stuck != nil {
		return done, fmt.Errorf("rewrap: not all keys could be unwrapped: %w", stuck)
	}
	return done, nil
}

// batch is what became of some subject keys.
type batch struct {
	last         uuid.UUID // the greatest subject among them
	looked, done int64
	stuck        error // the first key that could not be unwrapped
}

// rewrapAfter rewraps the next subject keys after one. They are locked in their order until the transaction ends, so that
// nobody is forgotten in between and given a key again; a reader waits for nothing.
func (k *Keys) rewrapAfter(ctx context.Context, tx pgx.Tx, after uuid.UUID) (b batch, err error) {
	const sel = `
		SELECT subject, wrapped
		FROM atlas.subject_keys
		WHERE subject > $1
		ORDER BY subject
		LIMIT $2
		FOR UPDATE`
	const update = `
		UPDATE atlas.subject_keys k
		SET wrapped = n.wrapped
		FROM unnest($1::uuid[], $2::bytea[]) AS n (subject, wrapped)
		WHERE k.subject = n.subject`
	rows, err := tx.Query(ctx, sel, after, rewrapBatch)
	if err != nil {
		return b, err
	}
	var subjects []uuid.UUID
	var anew [][]byte
	var wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&b.last, &wrapped}, func() error {
		b.looked++
		if wrapped == nil || k.master.isFirst(wrapped) {
			return nil
		}
		name := "subject/" + b.last.String()
		key, err := k.master.unwrap(wrapped, name)
		if err != nil {
			if b.stuck == nil {
				b.stuck = fmt.Errorf("key of subject %s: %w", b.last, err)
			}
			return nil
		}
		subjects, anew = append(subjects, b.last), append(anew, k.master.wrap(key, name))
		return nil
	})
	if err != nil || len(subjects) == 0 {
		return b, err
	}
	b.done = int64(len(subjects))
	_, err = tx.Exec(ctx, update, subjects, anew)
	return b, err
}

// rewrapSecrets does the same for the few server secrets.
func (k *Keys) rewrapSecrets(ctx context.Context) (done int64, err error) {
	const sel = `SELECT name, wrapped FROM atlas.server_secrets ORDER BY name FOR UPDATE`
	const update = `UPDATE atlas.server_secrets SET wrapped = $2 WHERE name = $1`
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sel)
		if err != nil {
			return err
		}
		anew := map[string][]byte{}
		var name string
		var wrapped []byte
		_, err = pgx.ForEachRow(rows, []any{&name, &wrapped}, func() error {
			if k.master.isFirst(wrapped) {
				return nil
			}
			secret, err := k.master.unwrap(wrapped, "secret/"+name)
			if err != nil {
				return fmt.Errorf("secret %s: %w", name, err)
			}
			anew[name] = k.master.wrap(secret, "secret/"+name)
			return nil
		})
		if err != nil {
			return err
		}
		for name, wrapped := range anew {
			if _, err := tx.Exec(ctx, update, name, wrapped); err != nil {
				return err
			}
		}
		done = int64(len(anew))
		return nil
	})
	return done, err
}
