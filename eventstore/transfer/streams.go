package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// streamRows are a chunk's streams as arrays for SQL.
type streamRows struct {
	names            []string
	before, versions []int64 // before the chunk, and after it
	firstTimes       []time.Time
	times            []time.Time
	firsts, lasts    []*int64 // positions, where they are known yet
}

func (r *streamRows) add(s *chunkStream, positions []int64) {
	r.names = append(r.names, s.name)
	r.before, r.versions = append(r.before, s.firstVersion-1), append(r.versions, s.version)
	r.firstTimes, r.times = append(r.firstTimes, s.firstTime), append(r.times, s.time)
	var first, last *int64
	if positions != nil {
		first, last = &positions[s.firstRow], &positions[s.lastRow]
	}
	r.firsts, r.lasts = append(r.firsts, first), append(r.lasts, last)
}

// writeStreams moves the rows that guard the streams' versions, and so locks them: first those of streams that begin in
// the chunk, then the others, each in the order of their names. With an append that takes the same streams in another
// order it may deadlock; then the chunk is tried again.
func (r *run) writeStreams(ctx context.Context, tx pgx.Tx, c *chunk) error {
	const insert = `
		INSERT INTO atlas.streams (stream, version, last_time, first_position, last_position)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[])
		ON CONFLICT DO NOTHING`
	const lock = `SELECT FROM atlas.streams WHERE stream = ANY ($1) ORDER BY stream FOR UPDATE`
	const update = `
		UPDATE atlas.streams s
		SET version = n.version, last_time = n.time, last_position = coalesce(n.last, s.last_position)
		FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::timestamptz[])
			AS n (stream, version, time, last, before, first_time)
		WHERE s.stream = n.stream AND s.version = n.before AND s.last_time <= n.first_time`
	var positions []int64
	if r.keep {
		positions = c.positions()
	}
	var begun, known streamRows
	for _, s := range c.streams {
		if s.firstVersion == 1 {
			begun.add(s, positions)
		} else {
			known.add(s, positions)
		}
	}
	moved := int64(0)
	if len(begun.names) > 0 {
		tag, err := tx.Exec(ctx, insert, begun.names, begun.versions, begun.times, begun.firsts, begun.lasts)
		if err != nil {
			return err
		}
		moved += tag.RowsAffected()
	}
	if len(known.names) > 0 {
		if _, err := tx.Exec(ctx, lock, known.names); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, update, known.names, known.versions, known.times, known.lasts, known.before, known.firstTimes)
		if err != nil {
			return err
		}
		moved += tag.RowsAffected()
	}
	if moved != int64(len(c.streams)) {
		return r.misfit(ctx, c)
	}
	return nil
}

// misfit names the first line that does not go on where its stream stands in this log. It asks on a connection of its
// own, which does not see what the chunk has written.
func (r *run) misfit(ctx context.Context, c *chunk) error {
	const q = `SELECT stream, version, last_time FROM atlas.streams WHERE stream = ANY ($1)`
	var all streamRows
	for _, s := range c.streams {
		all.add(s, nil)
	}
	rows, err := r.Pool.Query(ctx, q, all.names)
	if err != nil {
		return err
	}
	here := map[string]streamEnd{}
	var name string
	var end streamEnd
	_, err = pgx.ForEachRow(rows, []any{&name, &end.version, &end.at}, func() error {
		here[name] = end
		return nil
	})
	if err != nil {
		return err
	}
	var worst *LineError
	for _, s := range c.streams {
		end := here[s.name]
		if fits := s.firstVersion == end.version+1 && !s.firstTime.Before(end.at); fits || worst != nil && worst.Line < s.line {
			continue
		}
		worst = &LineError{s.line, fmt.Errorf("version %d of %s, recorded at %s, does not follow version %d, recorded at %s, which the log has",
			s.firstVersion, s.name, s.firstTime.Format(time.RFC3339Nano), end.version, end.at.UTC().Format(time.RFC3339Nano))}
	}
	if worst == nil {
		return fmt.Errorf("streams of lines %d to %d changed meanwhile", c.from.line+1, c.upto.line)
	}
	return worst
}

// draw takes the fence, as an append does, and draws positions for the chunk. The statements stand alone and not in a
// savepoint: the argument in eventstore's doc.go needs that order.
func (r *run) draw(ctx context.Context, tx pgx.Tx, c *chunk) (last int64, err error) {
	const value = `SELECT last_value FROM atlas.events_position`
	const fence = `SELECT pg_advisory_xact_lock_shared(atlas.lock_key('fence', $1))`
	const next = `SELECT array_agg(nextval('atlas.events_position')) FROM generate_series(1, $1)`
	const place = `
		UPDATE atlas.streams s
		SET first_position = coalesce(s.first_position, n.first), last_position = n.last
		FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS n (stream, first, last)
		WHERE s.stream = n.stream`
	var floor int64
	if err := tx.QueryRow(ctx, value).Scan(&floor); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, fence, floor); err != nil {
		return 0, err
	}
	var drawn []int64
	if err := tx.QueryRow(ctx, next, c.events()).Scan(&drawn); err != nil {
		return 0, err
	}
	for row, p := range drawn {
		c.rows.position(row, p)
	}
	var all streamRows
	for _, s := range c.streams {
		all.add(s, drawn)
	}
	_, err = tx.Exec(ctx, place, all.names, all.firsts, all.lasts)
	return drawn[len(drawn)-1], err
}
