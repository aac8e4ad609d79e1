package outbox

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options say how the topics are kept. A zero value takes the default.
type Options struct {
	Retention       time.Duration // how long a message stays that every group has read, for groups to come; negative is not at all; 24 h
	AbandonAfter    time.Duration // a group that has messages to read and does not move for so long is abandoned; 7 days
	AbandonMessages int64         // and one with more than so many, after an hour; 10,000,000
	Interval        time.Duration // between two rounds; a minute
	batch           int           // messages that one statement prunes
	quiet           time.Duration // how long a group with too many messages may stand still
}

func (o Options) withDefaults() Options {
	o.Retention = max(cmp.Or(o.Retention, 24*time.Hour), 0)
	o.AbandonAfter = cmp.Or(o.AbandonAfter, 7*24*time.Hour)
	o.AbandonMessages = cmp.Or(o.AbandonMessages, 10_000_000)
	o.Interval = cmp.Or(o.Interval, time.Minute)
	o.batch = cmp.Or(o.batch, 1000)
	o.quiet = cmp.Or(o.quiet, time.Hour)
	return o
}

// Topics lists the topics of the contracts, by name.
func Topics(contracts []Contract) (topics []string) {
	for _, c := range contracts {
		topics = append(topics, c.topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// Keeper keeps the topics small: it watches their groups, and prunes what all of them have read. Any number of nodes may run
// one; they take turns.
type Keeper struct {
	pool    *pgxpool.Pool
	topics  []string
	options Options
	log     *slog.Logger

	mu     sync.Mutex
	pruned map[string]int64 // by topic, since the process began
}

// NewKeeper returns a keeper of topics.
func NewKeeper(pool *pgxpool.Pool, topics []string, o Options, log *slog.Logger) *Keeper {
	return &Keeper{pool: pool, topics: topics, options: o.withDefaults(), log: log, pruned: map[string]int64{}}
}

// Run keeps the topics until ctx ends. What fails is logged and done the next time.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(k.options.Interval)
	defer tick.Stop()
	for {
		// The database may have been put in the place of another under a running process.
		if _, err := Settle(ctx, k.pool, k.topics, false); err != nil && ctx.Err() == nil {
			k.log.Warn("outbox not settled", "error", err)
		}
		for _, topic := range k.topics {
			if err := k.keep(ctx, topic); err != nil && ctx.Err() == nil {
				k.log.Warn("topic not kept", "topic", topic, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pruned returns how many messages this process has pruned, by topic.
func (k *Keeper) Pruned() map[string]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]int64{}
	for _, topic := range k.topics {
		all[topic] = k.pruned[topic]
	}
	return all
}

// keep looks at a topic's groups once, and prunes as long as there is something to prune.
func (k *Keeper) keep(ctx context.Context, topic string) error {
	if err := k.observe(ctx, topic); err != nil {
		return err
	}
	for {
		n, err := k.prune(ctx, topic)
		if err != nil || n < k.options.batch {
			return err
		}
	}
}

// inTurn runs f in a transaction unless another process is at the same just now.
func (k *Keeper) inTurn(ctx context.Context, f func(pgx.Tx) error) error {
	const q = `SELECT pg_try_advisory_xact_lock(hashtext('atlas.outbox'), hashtext('keeper'))`
	return pgx.BeginTxFunc(ctx, k.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, q).Scan(&mine); err != nil || !mine {
			return err
		}
		return f(tx)
	})
}

// prune removes the oldest messages of a topic that nobody needs any more, at most a batch, and returns how many. A group
// needs what it has not read: what lies beyond its offset, and, where it reads by transactions as watermill-sql's stock
// subscribers do, what comes after its place in their order. Abandoned groups need nothing, but what they miss is counted.
func (k *Keeper) prune(ctx context.Context, topic string) (n int, err error) {
	q := `
		WITH living AS (
			SELECT coalesce(o.offset_acked, 0) AS place, o.last_processed_transaction_id AS transaction
			FROM ` + offsetsTable(topic) + ` o
			LEFT JOIN outbox.observed_groups g ON g.topic = $1 AND g.consumer_group = o.consumer_group
			WHERE g.abandoned_at IS NULL
		), head AS (
			SELECT m."offset", m.created_at < clock_timestamp() - $2::interval
				AND NOT EXISTS (
					SELECT FROM living l
					WHERE m."offset" > l.place
						OR l.transaction <> '0' AND (m.transaction_id, m."offset") > (l.transaction, l.place)
				) AS spent
			FROM ` + messagesTable(topic) + ` m
			WHERE m."offset" > coalesce((SELECT p.upto FROM outbox.pruned_topics p WHERE p.topic = $1), 0)
			ORDER BY m."offset"
			LIMIT $3
		), gone AS (
			DELETE FROM ` + messagesTable(topic) + ` m
			USING head h
			WHERE m."offset" = h."offset" AND h.spent
				AND NOT EXISTS (SELECT FROM head kept WHERE NOT kept.spent AND kept."offset" < h."offset")
			RETURNING m."offset"
		), missing AS (
			UPDATE outbox.observed_groups g
			SET missed = g.missed + (SELECT count(*) FROM gone WHERE gone."offset" > g.offset_acked)
			WHERE g.topic = $1 AND g.abandoned_at IS NOT NULL AND EXISTS (SELECT FROM gone)
		), place AS (
			INSERT INTO outbox.pruned_topics (topic, upto)
			SELECT $1, max(gone."offset") FROM gone HAVING count(*) > 0
			ON CONFLICT (topic) DO UPDATE SET upto = excluded.upto
		)
		SELECT count(*) FROM gone`
	err = k.inTurn(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, q, topic, k.options.Retention, k.options.batch).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("prune topic %s: %w", topic, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pruned[topic] += int64(n)
	return n, nil
}
