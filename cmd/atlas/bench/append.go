package bench

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
)

// appendOne is the common write: one event at the version its caller knows.
var appendOne = Case{
	Name:    "append",
	About:   "append one event, beside a bare single-row INSERT",
	Clients: []int{1, 8, 64, 256},
	Open:    func(ctx context.Context, s Setting) (Contest, error) { return openAppend(ctx, s, 1, insertOne) },
}

// appendHundred is a write of many events at once.
var appendHundred = Case{
	Name:    "append-100",
	About:   "append 100 events at once, beside one bare INSERT of 100 rows by unnest",
	Clients: []int{1, 8},
	Open:    func(ctx context.Context, s Setting) (Contest, error) { return openAppend(ctx, s, 100, insertMany) },
}

// openAppend makes a log and a bare table in one database.
func openAppend(ctx context.Context, s Setting, batch int, insert inserter) (Contest, error) {
	log, err := newLog(ctx, s.Room)
	if err != nil {
		return Contest{}, err
	}
	bare, err := newBareTable(ctx, log.url, s.Clients)
	if err != nil {
		log.pool.Close()
		return Contest{}, err
	}
	atlas := writing(s.Clients, batch, func(ctx context.Context, w *writer) error {
		_, err := log.store.Append(eventstore.WithMetadata(ctx, newMetadata()), w.orders(batch))
		return err
	})
	atlas.Done = counting(log.pool, `SELECT count(*) FROM atlas.events`)
	minimum := writing(s.Clients, batch, func(ctx context.Context, w *writer) error { return insert(ctx, bare, w, batch) })
	minimum.Done = counting(bare, `SELECT count(*) FROM bare_events`)
	return Contest{
		Contest: measure.Contest{Atlas: atlas, Bare: minimum, Unit: "events/s", Memory: true},
		Close: func() {
			log.pool.Close()
			bare.Close()
		},
	}, nil
}

// writing is a side whose clients each write to streams of their own.
func writing(clients, batch int, write func(context.Context, *writer) error) measure.Side {
	writers := make([]writer, clients)
	return measure.Side{Sample: func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
		return measure.Clients(ctx, clients, length, func(ctx context.Context, client int) (int64, error) {
			w := &writers[client]
			w.next()
			if err := write(context.WithoutCancel(ctx), w); err != nil { // what is begun is finished, and counted
				return 0, err
			}
			w.version += int64(batch)
			return int64(batch), nil
		})
	}}
}

// counting counts rows.
func counting(pool *pgxpool.Pool, q string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (n int64, err error) {
		err = pool.QueryRow(ctx, q).Scan(&n)
		return n, err
	}
}
