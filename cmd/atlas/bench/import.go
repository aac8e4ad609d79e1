package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/transfer"
	"github.com/atlas-platform/atlas/internal/measure"
)

// importLog brings a file into an empty log, checks included; each sample into a fresh one.
var importLog = Case{
	Name:    "import",
	About:   "import a log, beside one bare COPY of the same rows into the same table with the same indexes",
	Clients: []int{1},
	Open:    openImport,
}

// importRate is about how many events are imported in a second: it makes a file's size of a sample's length.
const importRate = 20_000

// imports is a log in a file, and its events as COPY takes them.
type imports struct {
	room   *measure.Room
	file   *os.File
	rows   []byte
	events int64
}

func openImport(ctx context.Context, s Setting) (_ Contest, err error) {
	if s.Clients != 1 {
		return Contest{}, errors.New("one import runs at a time: measure it with one client")
	}
	im := &imports{room: s.Room}
	if im.file, err = os.CreateTemp("", "atlas-bench-*.ndjson"); err != nil {
		return Contest{}, err
	}
	remove := func() {
		im.file.Close()
		os.Remove(im.file.Name())
	}
	if err := im.inFreshLog(ctx, func(l *testLog) error { return im.fill(ctx, l, int(s.Length.Seconds()*importRate)) }); err != nil {
		remove()
		return Contest{}, err
	}
	return Contest{Close: remove, Contest: measure.Contest{
		Unit: "events/s", Atlas: im.side(im.importFile), Bare: im.side(im.copyRows),
	}}, nil
}

// fill makes the log that is imported, and takes it out in both forms.
func (im *imports) fill(ctx context.Context, l *testLog, count int) error {
	const together = 10 // streams
	for made := 0; made < count; made += together * streamEvents {
		writes := make([]eventstore.Write, together)
		for i := range writes {
			var w writer
			w.next()
			writes[i] = w.orders(streamEvents)
		}
		if _, err := l.store.Append(eventstore.WithMetadata(ctx, newMetadata()), writes...); err != nil {
			return err
		}
	}
	x := transfer.Export{Log: &transfer.Log{Pool: l.pool, Store: l.store, Sealer: l.keys}, Keys: l.keys}
	written, err := x.Write(ctx, im.file)
	if err != nil {
		return err
	}
	im.events = written.Events
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var rows bytes.Buffer
	_, err = conn.Conn().PgConn().CopyTo(ctx, &rows, `COPY (SELECT * FROM atlas.events ORDER BY position) TO STDOUT BINARY`)
	im.rows = rows.Bytes()
	return err
}

// side brings the log into a fresh database in every sample, and counts what is there.
func (im *imports) side(bring func(context.Context, *testLog) error) measure.Side {
	return measure.Side{Sample: func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
		s := &measure.Sample{Units: im.events}
		err := im.inFreshLog(ctx, func(l *testLog) error {
			started := time.Now()
			if err := bring(ctx, l); err != nil {
				return err
			}
			s.Took = time.Since(started)
			s.Latencies.Add(s.Took)
			there, err := counting(l.pool, `SELECT count(*) FROM atlas.events`)(ctx)
			if err == nil && there != im.events {
				err = fmt.Errorf("%d of %d events are there", there, im.events)
			}
			return err
		})
		return s, err
	}}
}

func (im *imports) importFile(ctx context.Context, l *testLog) error {
	_, err := transfer.Import{Pool: l.pool, Keys: l.keys}.Run(ctx, im.file)
	return err
}

func (im *imports) copyRows(ctx context.Context, l *testLog) error {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(im.rows), `COPY atlas.events FROM STDIN BINARY`)
	return err
}

// inFreshLog makes an empty log, and drops it when do has returned.
func (im *imports) inFreshLog(ctx context.Context, do func(*testLog) error) error {
	l, err := newLog(ctx, im.room, chain.Migrations(), transfer.Migrations())
	if err != nil {
		return err
	}
	err = do(l)
	l.pool.Close()
	return errors.Join(err, im.room.Drop(context.WithoutCancel(ctx), l.url))
}
