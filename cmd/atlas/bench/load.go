package bench

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
)

// loadStream loads streams as commands do.
var loadStream = Case{
	Name:    "load",
	About:   "load and decode a stream of 20 events, beside a bare SELECT of them in order, decoded alike",
	Clients: []int{1, 8},
	Open:    openLoad,
}

const loadedEvents = 20

// perSecond makes a number of things for a case to work on, such that a short sample need not wait for them long.
func perSecond(s Setting, n, least, most int) int {
	return min(max(int(s.Length.Seconds()*float64(n)), least), most)
}

func openLoad(ctx context.Context, s Setting) (Contest, error) {
	log, known, bare, err := openFilled(ctx, s, perSecond(s, 1000, 50, 5000), loadedEvents)
	if err != nil {
		return Contest{}, err
	}
	return Contest{
		Contest: measure.Contest{
			Unit:  "events/s",
			Atlas: reading(s.Clients, loadedEvents, loading(log, known)),
			Bare:  reading(s.Clients, loadedEvents, selecting(bare, known)),
		},
		Close: func() {
			log.pool.Close()
			bare.Close()
		},
	}, nil
}

// loading loads one stream after the other.
func loading(log *testLog, known []eventstore.Stream) func(context.Context, int) (int64, error) {
	return func(ctx context.Context, turn int) (int64, error) {
		all, err := log.store.Load(ctx, known[turn%len(known)], 1)
		if err != nil {
			return 0, err
		}
		return decoded(all)
	}
}

func selecting(bare *pgxpool.Pool, known []eventstore.Stream) func(context.Context, int) (int64, error) {
	const q = `SELECT ` + bareColumns + ` FROM bare_events WHERE stream = $1 ORDER BY version`
	return func(ctx context.Context, turn int) (int64, error) {
		return bareEvents(ctx, bare, true, q, known[turn%len(known)].String())
	}
}
