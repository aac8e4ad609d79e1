package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
)

// What can be wrong with a backfill that somebody asks for.
var (
	ErrBackfillRunning = fault.New(fault.Conflict, "backfill_running", "a backfill of the topic is running; nodes with the role projector finish it")
	ErrBackfillUnknown = fault.New(fault.Invalid, "backfill_unknown", "there is no such topic, or it has no such contract")
	ErrBackfillNone    = fault.New(fault.NotFound, "backfill_not_running", "no backfill of the topic is running")
	ErrBackfillStart   = fault.New(fault.Invalid, "backfill_start", "a backfill begins at a position that the outbox has come to")
)

// Backfill is how the last backfill of a topic is doing.
type Backfill struct {
	Topic     string     `json:"-"`
	Contracts []string   `json:"contracts"`
	Since     int64      `json:"since"`    // it is of events after this position
	Position  int64      `json:"position"` // and has come so far
	Written   int64      `json:"written"`  // messages
	Moved     int64      `json:"moved"`    // messages that nobody had read, taken out to come again in their place
	StartedAt time.Time  `json:"started_at"`
	DoneAt    *time.Time `json:"done_at"`

	CancelledAt *time.Time `json:"cancelled_at"` // only what it owes was written from then on
}

// Backfiller writes messages of contracts for events that happened before there were such messages, or whose messages were
// pruned. Any number of processes may run one.
type Backfiller struct {
	pool      *pgxpool.Pool
	store     *eventstore.Store
	contracts []Contract
	log       *slog.Logger
	batch     int // events that one transaction writes messages of
}

// NewBackfiller returns a backfiller of the contracts' topics.
func NewBackfiller(pool *pgxpool.Pool, store *eventstore.Store, contracts []Contract, log *slog.Logger) *Backfiller {
	return &Backfiller{pool: pool, store: store, contracts: contracts, log: log, batch: 1000}
}

// backfillInterval is how often a process looks for a backfill that it could go on with.
const backfillInterval = 2 * time.Second

// Run goes on with whatever backfill there is, until ctx ends.
func (b *Backfiller) Run(ctx context.Context) error {
	tick := time.NewTicker(backfillInterval)
	defer tick.Stop()
	said := ""
	for {
		more, err := b.Step(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			b.log.Warn("backfill of the outbox failed, and is tried again", "error", err)
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Start begins a backfill of a topic's contracts, or of all the topic has, for the events after a position. Messages that some
// group has read stay, and so does all that is there where the relay forwards the topic; those that nobody has read are
// taken out, to come again in their place. It waits for messages that groups have in hand.
func (b *Backfiller) Start(ctx context.Context, topic string, names []string, since int64) error {
	names, err := b.choose(topic, names)
	if err != nil {
		return err
	}
	err = pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		// First the groups, which may take a while, and only then the turn that the projection waits for.
		if _, err := tx.Exec(ctx, `SELECT FROM `+offsetsTable(topic)+` FOR UPDATE`); err != nil {
			return err
		}
		if _, err := takeTurn(ctx, tx); err != nil {
			return err
		}
		if err := b.begin(ctx, tx, topic, names, since); err != nil {
			return err
		}
		return moveUnread(ctx, tx, topic, names, since)
	})
	if err != nil {
		return fmt.Errorf("backfill topic %s: %w", topic, err)
	}
	return nil
}

// choose returns the contracts that are meant.
func (b *Backfiller) choose(topic string, names []string) (chosen []string, err error) {
	for _, c := range b.contracts {
		if c.topic == topic && (len(names) == 0 || slices.Contains(names, c.name)) {
			chosen = append(chosen, c.name)
		}
	}
	if len(chosen) == 0 || len(names) > 0 && len(chosen) != len(names) {
		return nil, fmt.Errorf("backfill topic %s of contracts %v: %w", topic, names, ErrBackfillUnknown)
	}
	return chosen, nil
}

// begin writes the backfill down, from when on the projection leaves its contracts out.
func (b *Backfiller) begin(ctx context.Context, tx pgx.Tx, topic string, names []string, since int64) error {
	const q = `
		INSERT INTO outbox.backfills AS b (topic, contracts, since, position, owed) VALUES ($1, $2, $3, $3, $4)
		ON CONFLICT (topic) DO UPDATE
		SET contracts = excluded.contracts, since = excluded.since, position = excluded.position, owed = excluded.owed,
			written = 0, moved = 0, started_at = clock_timestamp(), done_at = NULL, cancelled_at = NULL
		WHERE b.done_at IS NOT NULL`
	upto, err := projected(ctx, tx)
	if err != nil {
		return err
	}
	if since < 0 || since > upto {
		return fmt.Errorf("%w; it has come to %d", ErrBackfillStart, upto)
	}
	tag, err := tx.Exec(ctx, q, topic, names, since, upto)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrBackfillRunning
	}
	return err
}

// moveUnread takes out the messages that the backfill writes again, so that what is older does not come after them. What is
// there where the relay forwards counts as read: it may have it in hand without a lock.
func moveUnread(ctx context.Context, tx pgx.Tx, topic string, names []string, since int64) error {
	q := `
		WITH out AS (
			DELETE FROM ` + messagesTable(topic) + ` m
			WHERE m.metadata->>'` + MetaContract + `' = ANY ($2) AND (m.metadata->>'` + MetaPosition + `')::bigint > $3
				AND m."offset" > coalesce((SELECT max(offset_acked) FROM ` + offsetsTable(topic) + `), 0)
				AND NOT EXISTS (SELECT FROM ` + offsetsTable(topic) + ` WHERE consumer_group = 'atlas.relay')
			RETURNING (m.metadata->>'` + MetaPosition + `')::bigint AS position
		)
		UPDATE outbox.backfills
		SET moved = (SELECT count(*) FROM out), owed = least(owed, (SELECT min(out.position) - 1 FROM out))
		WHERE topic = $1`
	_, err := tx.Exec(ctx, q, topic, names, since)
	return err
}

// projected returns how far the outbox's projection has come, the furthest of its versions.
func projected(ctx context.Context, db asks) (position int64, err error) {
	const q = `SELECT coalesce(max(position), 0) FROM atlas.projections WHERE name = $1`
	return position, db.QueryRow(ctx, q, projectionName).Scan(&position)
}

// Cancel has the backfill of a topic leave out what is past when it began. What it owes it still writes: the messages that it
// took out, and those that were left to it since. So a topic has as many messages then as if there had been none, and those
// it has written. Step, here or on any node, brings it to its end.
func (b *Backfiller) Cancel(ctx context.Context, topic string) error {
	const q = `
		UPDATE outbox.backfills
		SET position = greatest(position, owed), cancelled_at = coalesce(cancelled_at, clock_timestamp())
		WHERE topic = $1 AND done_at IS NULL`
	tag, err := b.pool.Exec(ctx, q, topic)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrBackfillNone
	}
	if err != nil {
		return fmt.Errorf("cancel the backfill of topic %s: %w", topic, err)
	}
	return nil
}

// Step writes the next messages of every backfill that is not done, and says whether one is left to go on with at once. One that
// fails is not, and keeps no other from going on.
func (b *Backfiller) Step(ctx context.Context) (more bool, err error) {
	const q = `SELECT ` + backfillColumns + ` FROM outbox.backfills WHERE done_at IS NULL ORDER BY topic`
	rows, err := b.pool.Query(ctx, q)
	if err != nil {
		return false, fmt.Errorf("look for backfills: %w", err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Backfill])
	if err != nil {
		return false, fmt.Errorf("look for backfills: %w", err)
	}
	var faults []error
	for _, f := range open {
		done, err := b.advance(ctx, f)
		if err != nil {
			faults = append(faults, fmt.Errorf("backfill topic %s after %d: %w", f.Topic, f.Position, err))
			continue
		}
		more = more || !done
	}
	return more, errors.Join(faults...)
}

const backfillColumns = `topic, contracts, since, position, written, moved, started_at, done_at, cancelled_at`

// advance writes the messages of the next events, up to where the projection is. When it has come there it is done: that is
// decided with the turn, so whatever the projection writes next has these contracts again.
func (b *Backfiller) advance(ctx context.Context, f Backfill) (done bool, err error) {
	upto, err := projected(ctx, b.pool)
	if err != nil {
		return false, err
	}
	messages, reach, err := b.read(ctx, f, upto)
	if err != nil {
		return false, err
	}
	err = pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := takeTurn(ctx, tx); err != nil {
			return err
		}
		if upto, err = projected(ctx, tx); err != nil {
			return err
		}
		const move = `
			UPDATE outbox.backfills SET position = $3, done_at = CASE WHEN $3::bigint >= $4::bigint THEN clock_timestamp() END
			WHERE topic = $1 AND position = $2 AND started_at = $5 AND done_at IS NULL`
		tag, err := tx.Exec(ctx, move, f.Topic, f.Position, reach, upto, f.StartedAt)
		if err != nil || tag.RowsAffected() == 0 {
			return err // another process was faster
		}
		done = reach >= upto
		return insert(ctx, tx, f.Topic, messages)
	})
	return done && err == nil, err
}

// read returns the messages of the events after a backfill's place, and how far they reach.
func (b *Backfiller) read(ctx context.Context, f Backfill, upto int64) (messages []*message.Message, reach int64, err error) {
	chosen, filter, err := b.sources(f)
	if err != nil {
		return nil, 0, err
	}
	if f.Position >= upto {
		return nil, f.Position, nil
	}
	page, err := b.store.ReadAll(ctx, f.Position, upto, filter, b.batch)
	if err != nil {
		return nil, 0, err
	}
	for _, r := range page.Events {
		e, err := r.Event()
		if err != nil {
			return nil, 0, fmt.Errorf("event %d: %w", r.Position, err)
		}
		for _, c := range chosen[reflect.TypeOf(e)] {
			m, err := c.message(r, e)
			if err != nil {
				return nil, 0, err
			}
			messages = append(messages, m)
		}
	}
	return messages, page.Upto, nil
}

// sources returns a backfill's contracts by the type that they are made of, and what lets these events through. A process that
// lacks one of the contracts, since it is of an older release, must leave the backfill to others: it would pass over messages.
func (b *Backfiller) sources(f Backfill) (chosen map[reflect.Type][]Contract, filter eventstore.Filter, err error) {
	chosen = map[reflect.Type][]Contract{}
	lacking := slices.Clone(f.Contracts)
	for _, c := range b.contracts {
		if c.topic != f.Topic || !slices.Contains(f.Contracts, c.name) {
			continue
		}
		lacking = slices.DeleteFunc(lacking, func(name string) bool { return name == c.name })
		t := reflect.TypeOf(c.event)
		stored, err := b.store.Vocabulary().OfGo(t)
		if err != nil {
			return nil, filter, err
		}
		if chosen[t] == nil {
			filter.Types = append(filter.Types, stored.Name)
		}
		chosen[t] = append(chosen[t], c)
	}
	if len(lacking) > 0 {
		return nil, filter, fmt.Errorf("this release lacks the contracts %s; a node of the one that has them goes on", strings.Join(lacking, ", "))
	}
	return chosen, filter, nil
}

// insert writes messages that are not there yet, and counts them.
func insert(ctx context.Context, tx pgx.Tx, topic string, messages []*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	q, err := newSchema().InsertQuery(topic, messages)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, q.Query, q.Args...)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE outbox.backfills SET written = written + $2 WHERE topic = $1`, topic, tag.RowsAffected())
	return err
}

// LastBackfill returns how the last backfill of a topic is doing, nil if there was none.
func LastBackfill(ctx context.Context, pool *pgxpool.Pool, topic string) (*Backfill, error) {
	const q = `SELECT ` + backfillColumns + ` FROM outbox.backfills WHERE topic = $1`
	rows, err := pool.Query(ctx, q, topic)
	if err != nil {
		return nil, fmt.Errorf("backfill of topic %s: %w", topic, err)
	}
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[Backfill])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("backfill of topic %s: %w", topic, err)
	}
	return f, nil
}

// held says which messages a backfill writes, by topic and contract: those of events after a position.
type held map[[2]string]int64

func (h held) has(topic string, m *message.Message, position int64) bool {
	since, backfilled := h[[2]string{topic, m.Metadata.Get(MetaContract)}]
	return backfilled && position > since
}

// takeTurn lets one writer at a time draw offsets, until its transaction ends, so that they are seen in their order. It
// returns what is left to backfills, which is read with the turn: so neither leaves a message to the other that the other
// leaves to it.
func takeTurn(ctx context.Context, tx pgx.Tx) (left held, err error) {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('atlas.outbox', 0))`
	const backfills = `SELECT topic, c, since FROM outbox.backfills CROSS JOIN unnest(contracts) AS c WHERE done_at IS NULL`
	var both pgx.Batch
	both.Queue(lock)
	both.Queue(backfills).Query(func(rows pgx.Rows) error {
		var key [2]string
		var since int64
		_, err := pgx.ForEachRow(rows, []any{&key[0], &key[1], &since}, func() error {
			if left == nil {
				left = held{}
			}
			left[key] = since
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &both).Close(); err != nil {
		return nil, fmt.Errorf("take the outbox's turn: %w", err)
	}
	return left, nil
}
