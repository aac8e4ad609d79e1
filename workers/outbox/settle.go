package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Settle makes the topics good to read where the database was restored from elsewhere, and says whether it had to: it does so
// where the cluster has another identifier than when it last looked, where a message or a group's place comes from a
// transaction that has yet to be, or where a topic's sequence is behind its messages and groups. Anyway settles even where
// none of that can be told.
//
// A stock subscriber goes by transaction ids, and those of the cluster that was left hide everything new. So all that is
// there is put down as of transaction 1, in the order of offsets, and places with it. A group that reads by transactions may be
// put back to the first message it had not read, so that messages come again, but none is left out.
func Settle(ctx context.Context, pool *pgxpool.Pool, topics []string, anyway bool) (settled bool, err error) {
	now, foreign, err := whereabouts(ctx, pool, topics)
	if err != nil {
		return false, fmt.Errorf("look where the outbox lies: %w", err)
	}
	if now.same() && !foreign && !anyway {
		return false, nil
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := takeTurn(ctx, tx); err != nil {
			return err
		}
		now, foreign, err := whereabouts(ctx, tx, topics)
		if err != nil {
			return err
		}
		settled = foreign || anyway || now.known != nil && !now.same()
		for _, topic := range topics {
			if !settled {
				break
			}
			if err := settle(ctx, tx, topic); err != nil {
				return fmt.Errorf("topic %s: %w", topic, err)
			}
		}
		return now.record(ctx, tx)
	})
	if err != nil {
		return false, fmt.Errorf("settle the outbox in its cluster: %w", err)
	}
	return settled, nil
}

// asks is what asking needs of a pool or a transaction.
type asks interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// cluster is which one the database lies in, and which one it lay in when that was last looked at. Nil is not known.
type cluster struct{ known, here *int64 }

// same says that nothing speaks for another cluster, and that this one is known if it can be.
func (c cluster) same() bool { return c.here == nil || c.known != nil && *c.known == *c.here }

func (c cluster) record(ctx context.Context, tx pgx.Tx) error {
	const q = `INSERT INTO outbox.cluster (identifier) VALUES ($1) ON CONFLICT (one) DO UPDATE SET identifier = excluded.identifier`
	if c.here == nil {
		return nil
	}
	_, err := tx.Exec(ctx, q, *c.here)
	return err
}

// whereabouts says which cluster this is, and whether something in the topics cannot come from it. A role that may not ask for
// the identifier goes by what it sees alone.
func whereabouts(ctx context.Context, db asks, topics []string) (c cluster, foreign bool, err error) {
	var may bool
	const allowed = `SELECT has_function_privilege('pg_control_system()', 'execute'), (SELECT identifier FROM outbox.cluster)`
	if err := db.QueryRow(ctx, allowed).Scan(&may, &c.known); err != nil {
		return c, false, err
	}
	if may {
		if err := db.QueryRow(ctx, `SELECT system_identifier FROM pg_control_system()`).Scan(&c.here); err != nil {
			return c, false, err
		}
	}
	for _, topic := range topics {
		q := `
			SELECT coalesce(greatest(
					(SELECT max(transaction_id) FROM ` + messagesTable(topic) + `),
					(SELECT max(last_processed_transaction_id) FROM ` + offsetsTable(topic) + `)
				) >= pg_snapshot_xmax(pg_current_snapshot()), false)
				OR (SELECT last_value FROM ` + sequence(topic) + `) < ` + highest(topic)
		var strange bool
		if err := db.QueryRow(ctx, q, topic).Scan(&strange); err != nil {
			return c, false, err
		}
		foreign = foreign || strange
	}
	return c, foreign, nil
}

func sequence(topic string) string { return `"outbox"."` + topic + `_offset_seq"` }

// highest is the highest offset of the topic $1 that anything knows of.
func highest(topic string) string {
	return `greatest(1, (SELECT max("offset") FROM ` + messagesTable(topic) + `), (SELECT max(offset_acked) FROM ` + offsetsTable(topic) + `),
		(SELECT upto FROM outbox.pruned_topics WHERE topic = $1))`
}

// settle makes one topic good to read. Subscribers that have a message in hand are waited for.
func settle(ctx context.Context, tx pgx.Tx, topic string) error {
	for _, q := range []string{
		`SELECT setval('` + sequence(topic) + `', greatest(s.last_value, ` + highest(topic) + `), true) FROM ` + sequence(topic) + ` s`,
		`UPDATE ` + offsetsTable(topic) + ` o
		SET offset_acked = least(coalesce(o.offset_acked, 0), (
				SELECT min(m."offset") - 1 FROM ` + messagesTable(topic) + ` m
				WHERE (m.transaction_id, m."offset") > (o.last_processed_transaction_id, coalesce(o.offset_acked, 0))
			)),
			last_processed_transaction_id = '1'
		WHERE o.last_processed_transaction_id <> '0' AND $1 <> ''`,
		`UPDATE ` + messagesTable(topic) + ` SET transaction_id = '1' WHERE transaction_id <> '1' AND $1 <> ''`,
	} {
		if _, err := tx.Exec(ctx, q, topic); err != nil {
			return err
		}
	}
	return nil
}
