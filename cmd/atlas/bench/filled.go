package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/internal/postgres"
)

// What an append that fills a log writes, and how many do so at once.
const (
	fillStreams = 50
	fillers     = 4
)

// fill appends streams of so many events each, and returns them as far as they are to be known.
func (l *testLog) fill(ctx context.Context, streams, events int) (known []eventstore.Stream, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillers)
	for streams > 0 && ctx.Err() == nil {
		var writes []eventstore.Write
		for range min(streams, fillStreams) {
			w := writer{}
			w.next()
			writes = append(writes, w.orders(events))
			if len(known) < knownStreams {
				known = append(known, w.stream)
			}
		}
		streams -= len(writes)
		g.Go(func() error {
			_, err := l.store.Append(eventstore.WithMetadata(ctx, newMetadata()), writes...)
			return err
		})
	}
	return known, g.Wait()
}

// knownStreams is how many streams are loaded, by turns.
const knownStreams = 10_000

// settle has PostgreSQL do now what it would do soon, and in the middle of a sample.
func settle(ctx context.Context, pool *pgxpool.Pool, table string) error {
	for _, q := range []string{`VACUUM (ANALYZE) ` + table, `CHECKPOINT`} {
		if _, err := pool.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// openFilled makes a log with so many streams of so many events, and a bare table that holds the same. More migrations are
// applied after the log's own.
func openFilled(ctx context.Context, s Setting, streams, events int, more ...postgres.MigrationSet) (
	l *testLog, known []eventstore.Stream, bare *pgxpool.Pool, err error,
) {
	const same = `
		INSERT INTO bare_events (id, stream, version, type, recorded_at, data, metadata)
		SELECT id, stream, version, type, recorded_at, data, metadata FROM atlas.events ORDER BY position`
	if l, err = newLog(ctx, s.Room, more...); err != nil {
		return nil, nil, nil, err
	}
	if known, err = l.fill(ctx, streams, events); err == nil {
		bare, err = newBareTable(ctx, l.url, s.Clients)
	}
	if err == nil {
		_, err = bare.Exec(ctx, same)
	}
	for _, table := range []string{"atlas.events", "atlas.streams", "bare_events"} {
		if err == nil {
			err = settle(ctx, bare, table)
		}
	}
	if err != nil {
		l.pool.Close()
		if bare != nil {
			bare.Close()
		}
	}
	return l, known, bare, err
}

// bareEvent is what one reads of a bare table: as much as the log gives.
type bareEvent struct {
	position, version int64
	id                uuid.UUID
	stream, kind      string
	at                time.Time
	order             orderRevised
	metadata          stored
}

const bareColumns = `position, id, stream, version, type, recorded_at, data, metadata`

// bareEvents reads events and decodes their metadata, and on request what they say. It returns how many there were.
func bareEvents(ctx context.Context, pool *pgxpool.Pool, decode bool, sql string, args ...any) (n int64, err error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	var e bareEvent
	var data, metadata []byte
	_, err = pgx.ForEachRow(rows, []any{&e.position, &e.id, &e.stream, &e.version, &e.kind, &e.at, &data, &metadata}, func() error {
		n++
		e.order, e.metadata = orderRevised{}, stored{}
		if decode {
			if err := json.Unmarshal(data, &e.order); err != nil {
				return err
			}
		}
		return json.Unmarshal(metadata, &e.metadata)
	})
	return n, err
}

// decoded decodes events and returns how many there were.
func decoded(all []*eventstore.Recorded) (n int64, err error) {
	for _, r := range all {
		if _, err := r.Event(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// reading is a side whose clients read so many events at a time; it fails where one reads more or fewer.
func reading(clients int, want int64, read func(ctx context.Context, turn int) (int64, error)) measure.Side {
	turns := make([]int, clients)
	return measure.Side{Sample: func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
		return measure.Clients(ctx, clients, length, func(ctx context.Context, client int) (int64, error) {
			n, err := read(context.WithoutCancel(ctx), client+clients*turns[client])
			turns[client]++
			if err == nil && n != want {
				err = fmt.Errorf("read %d events, want %d", n, want)
			}
			return n, err
		})
	}}
}
