package sealing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// Log is what forgetting needs of the event log.
type Log interface {
	AppendTx(ctx context.Context, tx pgx.Tx, writes ...eventstore.Write) (eventstore.Outcome, error)
	Announce()
}

// Erasure is one line of the erasure ledger: who was forgotten, when, and the position of the event that says so.
type Erasure struct {
	Subject     uuid.UUID `json:"subject"`
	ForgottenAt time.Time `json:"forgotten_at"`
	Position    int64     `json:"position"`
}

// Forget destroys the subject's key for good, and says so in the log and in the erasure ledger, all in one transaction.
// What is sealed for the subject reads as erased from then on: here at once, on other nodes when their tail comes to the
// event. No key is ever made for it again, also where none was made before. Forgetting once more changes nothing and
// returns the first erasure.
func (k *Keys) Forget(ctx context.Context, log Log, subject uuid.UUID) (Erasure, error) {
	return k.forget(ctx, log, Erasure{Subject: subject, ForgottenAt: time.Now().UTC()})
}

// Replay forgets whom a ledger says to be forgotten, as of then. It is for a database restored from a backup that is older
// than the erasure; where it is not, nothing changes.
func (k *Keys) Replay(ctx context.Context, log Log, e Erasure) (Erasure, error) {
	return k.forget(ctx, log, e)
}

func (k *Keys) forget(ctx context.Context, log Log, e Erasure) (Erasure, error) {
	if e.Subject == uuid.Nil {
		return Erasure{}, errors.New("forget: no subject is named")
	}
	// The event carries nothing personal and is a command of its own, whatever the caller is carrying out.
	meta := eventstore.MetadataFrom(ctx)
	meta.Client = eventstore.Client{}
	ctx = eventstore.WithMetadata(ctx, meta)
	e.ForgottenAt = e.ForgottenAt.Truncate(time.Microsecond) // as the database keeps it
	ctx = eventstore.WithCommand(ctx, uuid.Must(uuid.NewV7()), nil)
	err := pgx.BeginTxFunc(ctx, k.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
		e, err = erase(ctx, tx, log, e)
		return err
	})
	if err != nil {
		return Erasure{}, fmt.Errorf("forget subject %s: %w", e.Subject, err)
	}
	k.Forgotten(e.Subject)
	log.Announce()
	return e, nil
}

// erase does what the transaction of forgetting does. The key goes first: its row is what those who forget the same
// subject, or make its first key, wait for. The append comes last but for one short statement, since readers of the log
// see nothing newer until the end.
func erase(ctx context.Context, tx pgx.Tx, log Log, e Erasure) (Erasure, error) {
	const bury = `
		INSERT INTO atlas.subject_keys AS k (subject, wrapped, forgotten_at)
		VALUES ($1, NULL, $2)
		ON CONFLICT (subject) DO UPDATE
		SET wrapped = NULL, forgotten_at = coalesce(k.forgotten_at, excluded.forgotten_at)`
	const find = `SELECT forgotten_at, position FROM atlas.erasures WHERE subject = $1`
	const enter = `INSERT INTO atlas.erasures (subject, forgotten_at, position) VALUES ($1, $2, $3)`
	if _, err := tx.Exec(ctx, bury, e.Subject, e.ForgottenAt); err != nil {
		return e, fmt.Errorf("destroy the key: %w", err)
	}
	found := Erasure{Subject: e.Subject}
	err := tx.QueryRow(ctx, find, e.Subject).Scan(&found.ForgottenAt, &found.Position)
	if err == nil || !errors.Is(err, pgx.ErrNoRows) {
		found.ForgottenAt = found.ForgottenAt.UTC()
		return found, err
	}
	o, err := log.AppendTx(ctx, tx, eventstore.Write{
		Stream: eventstore.NewStream("subject", e.Subject), Expect: eventstore.AnyVersion,
		Events: []events.Event{events.SubjectForgotten{SubjectID: e.Subject}},
	})
	if err != nil {
		return e, err
	}
	e.Position = o.Position()
	if _, err := tx.Exec(ctx, enter, e.Subject, e.ForgottenAt, e.Position); err != nil {
		return e, fmt.Errorf("enter it in the ledger: %w", err)
	}
	return e, nil
}
