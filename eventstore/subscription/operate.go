package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrNotParked says that none of a group's dead letters is meant.
var ErrNotParked = fault.New(fault.NotFound, "message_not_parked", "no parked message of the subscription matches")

// Status is how a group is doing.
type Status struct {
	Name      string
	Filter    eventstore.Filter
	Position  int64         // every message up to here is done, held or parked
	Lag       int64         // positions between it and the newest event
	LagTime   time.Duration // how long ago the first event it has not come to was recorded; 0 where there is none
	Members   []Member
	Free      int // slots nobody has leased
	Held      int // streams set aside; of a queue, those that have messages
	Failing   int // those of them whose first message failed
	Parked    int
	Owner     *uuid.UUID // of a queue, whose it is; nil where processes of Atlas work for the group
	Replays   bool       // of a queue, what was done before a reset comes again
	Leased    int        // of a queue, messages that are out
	Full      bool       // of a queue, as many streams have messages as may, and the log is read no further
	CreatedAt time.Time
	ResetAt   *time.Time
}

// Member is a process that works for a group.
type Member struct {
	Label     string // host/process
	Slots     int
	Paused    string // why it reads no further; empty if it does
	JoinedAt  time.Time
	ExpiresAt time.Time // its lease
}

// List returns the status of every group, or of those named.
func (l *Log) List(ctx context.Context, names ...string) ([]Status, error) {
	newest, err := l.store.Newest(ctx)
	if err != nil {
		return nil, err
	}
	horizon, err := l.store.Horizon(ctx)
	if err != nil {
		return nil, err
	}
	const q = `
		SELECT s.name, s.categories, s.types, s.created_at, s.reset_at, slots.position, slots.free,
			greatest($2 - slots.position, 0),
			(SELECT count(*) FROM atlas.subscription_held h WHERE h.subscription = s.name) + queued.streams,
			(SELECT count(*) FROM atlas.subscription_held h WHERE h.subscription = s.name AND h.error <> '') + queued.failing,
			(SELECT count(*) FROM atlas.subscription_parked p WHERE p.subscription = s.name),
			k.owner, coalesce(k.replays, false), queued.leased, queued.streams >= $3
		FROM atlas.subscriptions s
		LEFT JOIN atlas.subscription_queues k ON k.subscription = s.name
		CROSS JOIN LATERAL (
			SELECT count(*) AS streams, count(*) FILTER (WHERE q.error <> '') AS failing,
				count(*) FILTER (WHERE q.lease IS NOT NULL AND q.next_at > clock_timestamp()) AS leased
			FROM atlas.subscription_queued q WHERE q.subscription = s.name
		) queued
		CROSS JOIN LATERAL (
			SELECT min(t.position) AS position, count(*) FILTER (WHERE t.member IS NULL) AS free
			FROM atlas.subscription_slots t WHERE t.subscription = s.name
		) slots
		WHERE cardinality($1::text[]) = 0 OR s.name = ANY ($1)
		ORDER BY s.name`
	if names == nil {
		names = []string{}
	}
	rows, err := l.pool.Query(ctx, q, names, newest, l.maxQueued)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", unavailable(err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Status, err error) {
		return s, row.Scan(&s.Name, &s.Filter.Categories, &s.Filter.Types, &s.CreatedAt, &s.ResetAt, &s.Position, &s.Free,
			&s.Lag, &s.Held, &s.Failing, &s.Parked, &s.Owner, &s.Replays, &s.Leased, &s.Full)
	})
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", unavailable(err))
	}
	for i := range all {
		if err := l.complete(ctx, &all[i], horizon); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// complete adds what other queries tell.
func (l *Log) complete(ctx context.Context, s *Status, horizon int64) error {
	const members = `
		SELECT m.label, (SELECT count(*) FROM atlas.subscription_slots t WHERE t.subscription = $1 AND t.member = m.member),
			m.paused, m.joined_at, m.expires_at
		FROM atlas.subscription_members m
		WHERE m.subscription = $1 AND m.expires_at > clock_timestamp()
		ORDER BY m.label, m.joined_at`
	rows, err := l.pool.Query(ctx, members, s.Name)
	if err != nil {
		return fmt.Errorf("list members of %s: %w", s.Name, err)
	}
	if s.Members, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Member]); err != nil {
		return fmt.Errorf("list members of %s: %w", s.Name, err)
	}
	if s.LagTime, err = l.lagTime(ctx, *s, horizon); err != nil {
		return fmt.Errorf("lag of %s: %w", s.Name, err)
	}
	return nil
}

// Show returns the status of one group.
func (l *Log) Show(ctx context.Context, name string) (Status, error) {
	all, err := l.List(ctx, name)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("subscription %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return Status{}, err
	}
	return all[0], nil
}

// Held is a stream that is set aside: its first message that is not done failed, takes long, or the stream is behind.
type Held struct {
	Stream   string
	Position int64 // of the first message that is not done, or just before it
	Attempts int
	Error    string
	Progress string // what its handler tells
	Since    time.Time
	NextAt   *time.Time // when it is tried again; nil where it is in hand, or waits for its turn
}

// Held returns the streams of a group that are set aside, those for longest first, at most so many.
func (l *Log) Held(ctx context.Context, name string, limit int) ([]Held, error) {
	const q = `
		SELECT stream, position, attempts, error, progress, held_at, next_at
		FROM atlas.subscription_held WHERE subscription = $1
		UNION ALL
		SELECT stream, position, attempts, error, progress, queued_at, CASE WHEN lease IS NULL THEN next_at END
		FROM atlas.subscription_queued WHERE subscription = $1
		ORDER BY held_at, stream LIMIT $2`
	rows, err := l.pool.Query(ctx, q, name, limit)
	if err != nil {
		return nil, fmt.Errorf("held streams of %s: %w", name, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Held])
}

// DeadLetter is a message that was parked.
type DeadLetter struct {
	Position int64
	Stream   string
	Version  int64
	Event    uuid.UUID
	Type     string
	Attempts int
	Error    string
	ParkedAt time.Time
	RetryAt  *time.Time // since when it is to be tried once more
}

// Parked returns the dead letters of a group after a position, in the order of the log, at most so many.
func (l *Log) Parked(ctx context.Context, name string, after int64, limit int) ([]DeadLetter, error) {
	const q = `
		SELECT position, stream, version, event, type, attempts, error, parked_at, retry_at
		FROM atlas.subscription_parked WHERE subscription = $1 AND position > $2
		ORDER BY position LIMIT $3`
	rows, err := l.pool.Query(ctx, q, name, after, limit)
	if err != nil {
		return nil, fmt.Errorf("parked messages of %s: %w", name, unavailable(err))
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[DeadLetter])
}

// Which chooses dead letters. The zero value chooses all.
type Which struct {
	Position int64  // this one; 0 for any
	Error    string // those whose error contains the text; empty for any
}

const chosen = ` WHERE p.subscription = $1 AND ($2 = 0 OR p.position = $2) AND ($3 = '' OR strpos(p.error, $3) > 0)`

// Retry has dead letters tried once more, within a second and in the order of the log, before anything else of their
// streams. Those that fail stay parked. It returns how many.
func (l *Log) Retry(ctx context.Context, name string, which Which) (n int64, err error) {
	const q = `UPDATE atlas.subscription_parked p SET retry_at = coalesce(p.retry_at, clock_timestamp())` + chosen
	return l.onParked(ctx, q, name, which)
}

// Discard drops dead letters for good. It returns how many.
func (l *Log) Discard(ctx context.Context, name string, which Which) (n int64, err error) {
	return l.onParked(ctx, `DELETE FROM atlas.subscription_parked p`+chosen, name, which)
}

// onParked changes dead letters and tells the group.
func (l *Log) onParked(ctx context.Context, q, name string, which Which) (n int64, err error) {
	const tell = `UPDATE atlas.subscriptions SET generation = generation + 1 WHERE name = $1`
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, tell, name)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		// Of a queue nothing is answered meanwhile.
		if _, err := tx.Exec(ctx, `SELECT FROM atlas.subscription_slots WHERE subscription = $1 AND slot = 0 FOR UPDATE`, name); err != nil {
			return err
		}
		tag, err = tx.Exec(ctx, q, name, which.Position, which.Error)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrNotParked
		}
		if err != nil {
			return err
		}
		n = tag.RowsAffected()
		_, err = tx.Exec(ctx, `SELECT atlas.retry_queue($1)`, name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("parked messages of %s: %w", name, unavailable(err))
	}
	return n, nil
}

// Reset puts a group at another place, whoever works for it: what is held or parked is cleared, and answers to messages
// in hand count no more. Messages that were done before are replays from now on, which only workers that take part in
// replays are handed; with effects nothing is a replay, so everything happens again.
func (l *Log) Reset(ctx context.Context, name string, to Start, effects bool) error {
	position, err := l.position(ctx, to)
	if err != nil {
		return fmt.Errorf("reset %s: %w", name, err)
	}
	var found bool
	if err := l.pool.QueryRow(ctx, `SELECT atlas.reset_subscription($1, $2, $3)`, name, position, effects).Scan(&found); err != nil {
		return fmt.Errorf("reset %s: %w", name, unavailable(err))
	}
	if !found {
		return fmt.Errorf("reset %s: %w", name, ErrNotFound)
	}
	return nil
}

// Delete removes a group and all that is known of it. Whoever works for it stops at once.
func (l *Log) Delete(ctx context.Context, name string) error {
	// The slots are locked before anything goes, and behind the group, as everywhere: who has one at the moment may come to
	// need the group's row, for a dead letter.
	const group = `SELECT FROM atlas.subscriptions WHERE name = $1 FOR NO KEY UPDATE`
	const slots = `SELECT FROM atlas.subscription_slots WHERE subscription = $1 ORDER BY slot FOR UPDATE`
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, group, name)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrNotFound
		}
		for _, q := range []string{
			slots,
			`DELETE FROM atlas.subscriptions WHERE name = $1`,
			`DELETE FROM atlas.subscription_effects WHERE subscription = $1`,
		} {
			if err == nil {
				_, err = tx.Exec(ctx, q, name)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, unavailable(err))
	}
	return nil
}
