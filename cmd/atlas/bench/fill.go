package bench

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
)

// fillLog grows a log, and holds what it then does against a small one.
var fillLog = Case{
	Name:    "fill",
	About:   "append to a log of --events events, beside one of 10,000; then (fill.tail) read the newest 2,000 of each, (fill.load) load streams of each",
	Clients: []int{8},
	Open:    openFill,
}

// largeLog is how many events the log has that is grown, unless --events says, and smallLog the one it is held against.
const (
	largeLog = 100_000
	smallLog = 10_000
)

// newest is how many events are read from the end of each.
const newest = 2000

func openFill(ctx context.Context, s Setting) (Contest, error) {
	s.Events = cmp.Or(s.Events, largeLog)
	if s.Events < smallLog {
		return Contest{}, fmt.Errorf("a log of %d events is too small to be held against one of %d", s.Events, smallLog)
	}
	var logs []*testLog
	done := func() {
		for _, l := range logs {
			l.pool.Close()
		}
	}
	var appends, tails, loads [2]measure.Side
	for side, events := range []int64{s.Events, smallLog} {
		l, known, err := openGrown(ctx, s, events)
		if err != nil {
			done()
			return Contest{}, err
		}
		logs = append(logs, l)
		horizon, err := l.store.Horizon(ctx)
		if err != nil {
			done()
			return Contest{}, err
		}
		appends[side] = writing(s.Clients, 1, func(ctx context.Context, w *writer) error {
			_, err := l.store.Append(eventstore.WithMetadata(ctx, newMetadata()), w.orders(1))
			return err
		})
		appends[side].Done = func(ctx context.Context) (n int64, err error) {
			const q = `SELECT count(*) FROM atlas.events WHERE position > $1`
			err = l.pool.QueryRow(ctx, q, horizon).Scan(&n)
			return n, err
		}
		tails[side] = reading(s.Clients, newest, func(ctx context.Context, _ int) (int64, error) { return l.readRange(ctx, horizon-newest, horizon) })
		loads[side] = reading(s.Clients, streamEvents, loading(l, known))
	}
	contest := func(sides [2]measure.Side) measure.Contest {
		return measure.Contest{Atlas: sides[0], Bare: sides[1], Unit: "events/s"}
	}
	c := Contest{Contest: contest(appends), Close: done, Also: []Also{{"tail", contest(tails)}, {"load", contest(loads)}}}
	c.Memory = true
	return c, nil
}

// openGrown makes a log with so many events, and returns streams from all over it.
func openGrown(ctx context.Context, s Setting, events int64) (l *testLog, known []eventstore.Stream, err error) {
	const some = `SELECT stream FROM atlas.streams ORDER BY md5(stream) LIMIT $1`
	if l, err = newLog(ctx, s.Room); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			l.pool.Close()
		}
	}()
	if _, err = l.fill(ctx, int(events/streamEvents), streamEvents); err != nil {
		return nil, nil, err
	}
	for _, table := range []string{"atlas.events", "atlas.streams"} {
		if err = settle(ctx, l.pool, table); err != nil {
			return nil, nil, err
		}
	}
	rows, err := l.pool.Query(ctx, some, knownStreams)
	if err != nil {
		return nil, nil, err
	}
	known, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (eventstore.Stream, error) {
		var name string
		if err := row.Scan(&name); err != nil {
			return eventstore.Stream{}, err
		}
		return eventstore.ParseStream(name)
	})
	return l, known, err
}
