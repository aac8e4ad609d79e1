package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Group is the relay's consumer group in the topics' tables of offsets: what it has not forwarded is not pruned.
const Group = "atlas.relay"

// place is how far a topic has come. As in atlas.relays, it is one fact: when the stream that was made then ended with this
// sequence, everything up to the offset had been forwarded and nothing above it.
type place struct {
	offset   int64
	sequence uint64
	made     int64 // in nanoseconds; 0 where nothing is known of a stream
}

// desk is where a relay keeps its books on one topic.
type desk struct {
	pool   *pgxpool.Pool
	topic  string
	holder uuid.UUID
	epoch  int64
}

func (d desk) messages() string { return pgx.Identifier{"outbox", d.topic}.Sanitize() }

func (d desk) offsets() string { return pgx.Identifier{"outbox", d.topic + "_offsets"}.Sanitize() }

// join makes the relay a consumer group of the topic, if it is none yet: from then on nothing is pruned that it has not
// forwarded.
func (d desk) join(ctx context.Context) error {
	q := `
		INSERT INTO ` + d.offsets() + ` (consumer_group, offset_acked, last_processed_transaction_id)
		VALUES ($1, 0, '0')
		ON CONFLICT DO NOTHING`
	if _, err := d.pool.Exec(ctx, q, Group); err != nil {
		return fmt.Errorf("join the groups of %s: %w", d.topic, err)
	}
	return nil
}

// attend says that a process works for the topic, though it may wait for the broker, or for its stream: the group lives.
func (d desk) attend(ctx context.Context) error {
	const q = `UPDATE outbox.observed_groups SET attended_at = clock_timestamp() WHERE topic = $1 AND consumer_group = $2`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	if _, err := d.pool.Exec(ctx, q, d.topic, Group); err != nil {
		return fmt.Errorf("attend %s: %w", d.topic, err)
	}
	return nil
}

// requireAll refuses to go on over messages that were pruned before they were forwarded.
func (d desk) requireAll(ctx context.Context) error {
	const q = `
		SELECT coalesce(max(missed), 0) FROM outbox.observed_groups
		WHERE topic = $1 AND consumer_group = $2`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	var missed int64
	if err := d.pool.QueryRow(ctx, q, d.topic, Group).Scan(&missed); err != nil {
		return fmt.Errorf("look for what %s lacks: %w", d.topic, err)
	}
	if missed > 0 {
		return fmt.Errorf("%d messages were %w `atlas relay resume %s`", missed, ErrMissed, d.topic)
	}
	return nil
}

// Resume has a topic go on that stands still over messages that were pruned before they were forwarded, without them. It
// returns how many these are. What waits stays.
func Resume(ctx context.Context, pool *pgxpool.Pool, topic string) (missed int64, err error) {
	const q = `
		UPDATE outbox.observed_groups g SET missed = 0
		FROM outbox.observed_groups was
		WHERE g.topic = $1 AND g.consumer_group = $2 AND was.topic = g.topic AND was.consumer_group = g.consumer_group
		RETURNING was.missed`
	err = pool.QueryRow(ctx, q, topic, Group).Scan(&missed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("resume %s: %w", topic, err)
	}
	return missed, nil
}

// load returns where the topic was when that was last recorded.
func (d desk) load(ctx context.Context) (p place, err error) {
	const q = `SELECT "offset", sequence, stream_made FROM atlas.relays WHERE topic = $1`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	var sequence, made *int64
	if err := d.pool.QueryRow(ctx, q, d.topic).Scan(&p.offset, &sequence, &made); err != nil {
		return p, fmt.Errorf("read how far %s was forwarded: %w", d.topic, err)
	}
	if sequence != nil {
		p.sequence, p.made = uint64(*sequence), *made
	}
	return p, nil
}

// record writes down where the topic is, unless another process has taken it since: then it says so. The group's offset goes
// with it, for whoever prunes.
func (d desk) record(ctx context.Context, p place) error {
	q := `
		WITH mine AS (
			UPDATE atlas.relays
			SET "offset" = $4, sequence = $5, stream_made = $6, moved_at = clock_timestamp(), error = NULL, error_since = NULL
			WHERE topic = $1 AND holder = $2 AND epoch = $3
			RETURNING topic
		)
		INSERT INTO ` + d.offsets() + ` (consumer_group, offset_acked, last_processed_transaction_id)
		SELECT $7, $4, '0' FROM mine
		ON CONFLICT (consumer_group) DO UPDATE SET offset_acked = excluded.offset_acked`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	tag, err := d.pool.Exec(ctx, q, d.topic, d.holder, d.epoch, p.offset, int64(p.sequence), p.made, Group)
	if err != nil {
		return fmt.Errorf("record how far %s was forwarded: %w", d.topic, err)
	}
	if tag.RowsAffected() == 0 {
		return errLost
	}
	return nil
}

var errLost = errors.New("another process has taken the topic")

// fail writes down why the topic stands still.
func (d desk) fail(ctx context.Context, reason string) error {
	const q = `
		UPDATE atlas.relays SET error = $4, error_since = coalesce(error_since, clock_timestamp())
		WHERE topic = $1 AND holder = $2 AND epoch = $3`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	_, err := d.pool.Exec(ctx, q, d.topic, d.holder, d.epoch, reason)
	return err
}

// read returns the topic's messages after an offset, in order. One process at a time writes to a topic (package outbox), so
// none appears below one that was seen.
func (d desk) read(ctx context.Context, after int64, limit int) ([]row, error) {
	q := `
		SELECT "offset", uuid, payload, metadata
		FROM ` + d.messages() + `
		WHERE "offset" > $1
		ORDER BY "offset"
		LIMIT $2`
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	rows, err := d.pool.Query(ctx, q, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.topic, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.topic, err)
	}
	return found, nil
}

// offsetsOf returns the offsets of those of these messages that lie after an offset, by id.
func (d desk) offsetsOf(ctx context.Context, ids []string, after int64) (offsets map[string]int64, err error) {
	q := `SELECT uuid, "offset" FROM ` + d.messages() + ` WHERE uuid = ANY ($1) AND "offset" > $2`
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	rows, err := d.pool.Query(ctx, q, ids, after)
	if err != nil {
		return nil, fmt.Errorf("look for messages in %s: %w", d.topic, err)
	}
	offsets = map[string]int64{}
	var id string
	var offset int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &offset}, func() error { offsets[id] = offset; return nil }); err != nil {
		return nil, fmt.Errorf("look for messages in %s: %w", d.topic, err)
	}
	return offsets, nil
}

// last returns the offset of the topic's last message, 0 if there is none.
func (d desk) last(ctx context.Context) (offset int64, err error) {
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	if err := d.pool.QueryRow(ctx, `SELECT coalesce(max("offset"), 0) FROM `+d.messages()).Scan(&offset); err != nil {
		return 0, fmt.Errorf("look for the last message of %s: %w", d.topic, err)
	}
	return offset, nil
}

// nth returns the offset of the nth message after an offset, or of the last there is.
func (d desk) nth(ctx context.Context, after int64, n uint64) (offset int64, err error) {
	q := `
		SELECT coalesce(max("offset"), $1)
		FROM (SELECT "offset" FROM ` + d.messages() + ` WHERE "offset" > $1 ORDER BY "offset" LIMIT $2) AS m`
	if n == 0 {
		return after, nil
	}
	ctx, done := context.WithTimeout(ctx, databaseTimeout)
	defer done()
	if err := d.pool.QueryRow(ctx, q, after, int64(n)).Scan(&offset); err != nil {
		return 0, fmt.Errorf("count on in %s: %w", d.topic, err)
	}
	return offset, nil
}
