package bench

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
)

// readAll reads a log from end to end, and then tells how soon another process sees what is appended.
var readAll = Case{
	Name:    "tail",
	About:   "read and decode all events in order, beside one bare ordered scan, decoded alike; then (tail.latency) append to the tail of another process, beside INSERT and NOTIFY",
	Clients: []int{1},
	Open:    openTail,
}

func openTail(ctx context.Context, s Setting) (Contest, error) {
	log, _, bare, err := openFilled(ctx, s, perSecond(s, 2500, 100, 5000), streamEvents)
	if err != nil {
		return Contest{}, err
	}
	done := func() {
		log.pool.Close()
		bare.Close()
	}
	horizon, err := log.store.Horizon(ctx)
	if err != nil {
		done()
		return Contest{}, err
	}
	latency, end, err := openLatency(ctx, log, bare, byTail)
	if err != nil {
		done()
		return Contest{}, err
	}
	return Contest{
		Contest: measure.Contest{
			Unit:  "events/s",
			Atlas: reading(s.Clients, horizon, func(ctx context.Context, _ int) (int64, error) { return log.readRange(ctx, 0, horizon) }),
			Bare:  reading(s.Clients, horizon, func(ctx context.Context, _ int) (int64, error) { return scanning(ctx, bare, horizon, true) }),
		},
		Also: []Also{{Name: "latency", Contest: latency}},
		Close: func() {
			end()
			done()
		},
	}, nil
}

// readRange reads and decodes the events after a position up to another, page by page.
func (l *testLog) readRange(ctx context.Context, after, upto int64) (n int64, err error) {
	for after < upto {
		b, err := l.store.ReadAll(ctx, after, upto, eventstore.Filter{}, 1000)
		if err != nil {
			return n, err
		}
		if b.Upto <= after {
			return n, errors.New("a page that leads nowhere")
		}
		read, err := decoded(b.Events)
		if err != nil {
			return n, err
		}
		n, after = n+read, b.Upto
	}
	return n, nil
}

// scanning reads all rows in order; what the events say is decoded on request.
func scanning(ctx context.Context, bare *pgxpool.Pool, upto int64, decode bool) (int64, error) {
	const q = `SELECT ` + bareColumns + ` FROM bare_events WHERE position <= $1 ORDER BY position`
	return bareEvents(ctx, bare, decode, q, upto)
}
