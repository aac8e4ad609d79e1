package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// What can be wrong with a queue that somebody makes or uses.
var (
	// ErrTaken says that a name belongs to somebody else, or to a worker of Atlas itself.
	ErrTaken = fault.New(fault.Conflict, "subscription_taken",
		"the name is taken by another owner or by a worker of Atlas itself; take another name")
	// ErrBuiltIn says that a subscription is worked for by processes of Atlas.
	ErrBuiltIn = fault.New(fault.Conflict, "subscription_built_in",
		"the subscription belongs to a worker of Atlas itself: its messages are not leased, and it is neither deleted nor given away")
	// ErrLeaseOver says that a token's lease is over.
	ErrLeaseOver = fault.New(fault.Conflict, "lease_lost",
		"the leases that errors names are over, and their messages come again or are another's by now; everything else in the request counts")
)

// Queue is a group that no process of Atlas works for: its messages are leased one by one, to whoever asks any node.
type Queue struct {
	Definition
	Owner   uuid.UUID // whose it is
	Retry   Retry     // the zero values are those of Options
	Replays bool      // messages that were done before a reset are handed out again
}

// CreateQueue makes the queue unless it is there; then it only changes how messages are retried and replayed, and says
// false. Another owner's name, or that of a group that is no queue, is ErrTaken; another filter is ErrChanged.
func (l *Log) CreateQueue(ctx context.Context, q Queue) (created bool, err error) {
	if err := l.checkQueue(q); err != nil {
		return false, err
	}
	position, err := l.position(ctx, q.Start)
	if err != nil {
		return false, fmt.Errorf("queue %s: %w", q.Name, err)
	}
	q.Retry = Options{Retry: q.Retry}.withDefaults().Retry
	q.Filter = sorted(q.Filter)
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		created, err = makeGroup(ctx, tx, q.Definition, position, 1)
		if err != nil {
			return err
		}
		if created {
			return insertQueue(ctx, tx, q)
		}
		return updateQueue(ctx, tx, q)
	})
	if err != nil {
		return false, fmt.Errorf("queue %s: %w", q.Name, unavailable(err))
	}
	return created, nil
}

// checkQueue holds what somebody asks for against the rules and the vocabulary.
func (l *Log) checkQueue(q Queue) error {
	if err := q.check(); err != nil {
		return err
	}
	var unknown []fault.Field
	for i, name := range q.Filter.Types {
		if _, err := l.store.Vocabulary().Named(name); err != nil {
			unknown = append(unknown, fault.Field{
				Pointer: fmt.Sprintf("/types/%d", i), Code: "not_allowed", Message: "must be the type of an event, such as document.created",
			})
		}
	}
	if len(unknown) > 0 {
		return ErrDefinition.At(unknown...)
	}
	return nil
}

func insertQueue(ctx context.Context, tx pgx.Tx, q Queue) error {
	const insert = `
		INSERT INTO atlas.subscription_queues (subscription, owner, attempts, retry_first, retry_max, replays)
		VALUES ($1, $2, $3, $4, $5, $6)`
	_, err := tx.Exec(ctx, insert, q.Name, q.Owner, max(q.Retry.Attempts, 0), q.Retry.First, q.Retry.Max, q.Replays)
	return err
}

// updateQueue changes what may change of a queue that is there.
func updateQueue(ctx context.Context, tx pgx.Tx, q Queue) error {
	have, err := queueIn(ctx, tx, q.Name)
	switch {
	case errors.Is(err, ErrBuiltIn):
		return ErrTaken
	case err != nil:
		return err
	case have.Owner != q.Owner:
		return ErrTaken
	case !sameFilter(have.Filter, q.Filter):
		return ErrChanged
	}
	const update = `
		UPDATE atlas.subscription_queues SET attempts = $2, retry_first = $3, retry_max = $4, replays = $5
		WHERE subscription = $1`
	// Whoever takes the log in knows whether replays are left out, and learns by a new epoch that it is otherwise now.
	const turn = `UPDATE atlas.subscription_slots SET epoch = epoch + 1 WHERE subscription = $1 AND slot = 0`
	if have.Replays != q.Replays {
		if _, err := tx.Exec(ctx, turn, q.Name); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, update, q.Name, max(q.Retry.Attempts, 0), q.Retry.First, q.Retry.Max, q.Replays)
	return err
}

// Give makes a queue another owner's, and returns whose it was. It keeps its place in the log, and all that waits or is parked.
// What is leased stays so until the leases end: only the new owner may answer it, and nobody else is given it before. A
// group that is no queue is ErrBuiltIn.
func (l *Log) Give(ctx context.Context, name string, to uuid.UUID) (from uuid.UUID, err error) {
	const lock = `SELECT FROM atlas.subscription_queues WHERE subscription = $1 FOR NO KEY UPDATE`
	const give = `UPDATE atlas.subscription_queues SET owner = $2 WHERE subscription = $1`
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lock, name); err != nil {
			return err
		}
		q, err := queueIn(ctx, tx, name)
		if err != nil {
			return err
		}
		from = q.Owner
		_, err = tx.Exec(ctx, give, name, to)
		return err
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("give %s: %w", name, unavailable(err))
	}
	return from, nil
}

// Queue returns what a queue is. It is ErrNotFound where there is none of the name, and ErrBuiltIn where the group is no
// queue.
func (l *Log) Queue(ctx context.Context, name string) (Queue, error) {
	q, err := queueIn(ctx, l.pool, name)
	if err != nil {
		return q, fmt.Errorf("queue %s: %w", name, unavailable(err))
	}
	return q, nil
}

// QueueOf is Queue for somebody: another owner's queue, and a group that is no queue, is ErrNotFound to them. The nil UUID is
// an operator, who sees all.
func (l *Log) QueueOf(ctx context.Context, name string, owner uuid.UUID) (Queue, error) {
	q, err := l.Queue(ctx, name)
	if owner != uuid.Nil && (errors.Is(err, ErrBuiltIn) || err == nil && q.Owner != owner) {
		return Queue{}, fmt.Errorf("queue %s: %w", name, ErrNotFound)
	}
	return q, err
}

// Sees says whether somebody may see the group: nil, or ErrNotFound. An operator sees the groups that are no queues too.
func (l *Log) Sees(ctx context.Context, name string, owner uuid.UUID) error {
	if _, err := l.QueueOf(ctx, name, owner); !errors.Is(err, ErrBuiltIn) {
		return err
	}
	return nil
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func queueIn(ctx context.Context, db querier, name string) (q Queue, err error) {
	const sql = `
		SELECT s.categories, s.types, k.owner, k.attempts, k.retry_first, k.retry_max, k.replays
		FROM atlas.subscriptions s
		LEFT JOIN atlas.subscription_queues k ON k.subscription = s.name
		WHERE s.name = $1`
	var owner *uuid.UUID
	var attempts *int
	var first, most *time.Duration
	var replays *bool
	q.Name = name
	err = db.QueryRow(ctx, sql, name).Scan(&q.Filter.Categories, &q.Filter.Types, &owner, &attempts, &first, &most, &replays)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return q, ErrNotFound
	case err != nil:
		return q, err
	case owner == nil:
		return q, ErrBuiltIn
	}
	q.Owner, q.Retry, q.Replays = *owner, Retry{First: *first, Max: *most, Attempts: *attempts}, *replays
	if q.Retry.Attempts == 0 {
		q.Retry.Attempts = -1
	}
	return q, nil
}

// QueueNames returns the names of an owner's queues; with the nil UUID, of everybody's and of all other groups too. They
// come in order, behind a name, at most so many.
func (l *Log) QueueNames(ctx context.Context, owner uuid.UUID, after string, limit int) ([]string, error) {
	const q = `
		SELECT s.name FROM atlas.subscriptions s
		LEFT JOIN atlas.subscription_queues k ON k.subscription = s.name
		WHERE s.name > $1 AND ($2 = '00000000-0000-0000-0000-000000000000'::uuid OR k.owner = $2)
		ORDER BY s.name LIMIT $3`
	rows, err := l.pool.Query(ctx, q, after, owner, limit)
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", unavailable(err))
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", unavailable(err))
	}
	return names, nil
}

func sameFilter(a, b eventstore.Filter) bool {
	return slices.Equal(a.Categories, b.Categories) && slices.Equal(a.Types, b.Types)
}

// unavailable tells callers of a database that cannot be reached.
func unavailable(err error) error {
	if postgres.IsConnectionLost(err) {
		return fmt.Errorf("%w (%w)", eventstore.ErrUnavailable, err)
	}
	return err
}
