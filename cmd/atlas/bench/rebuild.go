package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// rebuildTable folds a log of documents of 1 KiB and ten events each into their read table: read, unsealed, decoded, folded,
// written, verified by a sample and swapped.
var rebuildTable = Case{
	Name: "rebuild",
	About: "rebuild the documents' table, beside a bare scan, JSON decode and COPY of the same documents, not encrypted; then " +
		"(rebuild.upsert) beside a bare upsert for each event, and (rebuild.live) how far behind the table that is read is " +
		"meanwhile, beside how far it is otherwise (1 M events: --events=1000000)",
	Clients: []int{1},
	Open:    openRebuild,
}

// rebuildRate is about how many events are rebuilt in a second: it makes a log of a sample's length.
const rebuildRate = 20_000

// liveRate is how many events are appended in a second while a table is rebuilt.
const liveRate = 150

// rebuildBound is how many MiB a process that rebuilds may take: the rows it holds and four pages, twice, since what was
// freed is collected when there is as much again; and the program.
const rebuildBound = 2*(engine.DefaultMemory>>20+4*8) + 64

// rebuilding is a log of documents, and the same in a bare table.
type rebuilding struct {
	log      *testLog
	workshop *engine.Workshop
	events   int64
	live     *live // once it was asked for
}

func openRebuild(ctx context.Context, s Setting) (_ Contest, err error) {
	if s.Clients != 1 {
		return Contest{}, errors.New("one rebuild runs at a time: measure it with one client")
	}
	l, err := newDocumentLog(ctx, s.Room)
	if err != nil {
		return Contest{}, err
	}
	r := &rebuilding{log: l}
	if err := r.fill(ctx, cmp.Or(int(s.Events), max(int(s.Length.Seconds()*rebuildRate), 100))); err != nil {
		l.pool.Close()
		return Contest{}, err
	}
	build := func() (string, error) { return "bench", nil }
	r.workshop = engine.NewWorkshop(l.store, l.pool, slog.New(slog.DiscardHandler), build, folded())
	rebuild := r.side(r.rebuild, projections.Documents.Table())
	return Contest{
		Contest: measure.Contest{
			Unit: "events/s", Memory: true, Bound: rebuildBound, Atlas: rebuild, Bare: r.side(r.scan, "bare_documents"),
		},
		Also: []Also{
			{Name: "upsert", Contest: measure.Contest{Unit: "events/s", Atlas: rebuild, Bare: measure.Side{Sample: r.upsert}}},
			{Name: "live", Contest: r.lag()},
		},
		Close: func() {
			if r.live != nil {
				r.live.done()
			}
			l.pool.Close()
		},
	}, nil
}

// lag is how long live events take to be seen, in milliseconds that 99 of 100 stay within, while the table is rebuilt; and
// while it is not.
func (r *rebuilding) lag() measure.Contest {
	p99 := func(s *measure.Sample) float64 { return s.Latencies.Quantile(0.99).Seconds() * 1000 }
	begun := func(sample func(context.Context, time.Duration) (*measure.Sample, error)) measure.Side {
		return measure.Side{Sample: func(ctx context.Context, length time.Duration) (_ *measure.Sample, err error) {
			if r.live == nil {
				if r.live, err = openLive(context.WithoutCancel(ctx), r.log); err != nil {
					return nil, err
				}
			}
			return sample(ctx, length)
		}}
	}
	contest := measure.Contest{
		Unit: "ms", Value: p99,
		Atlas: begun(func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
			s, err := r.live.during(ctx, liveRate, r.rebuild)
			if err == nil {
				err = r.whole(ctx, projections.Documents.Table(), r.events+r.live.written.Load())
			}
			return s, err
		}),
		Bare: begun(func(ctx context.Context, length time.Duration) (*measure.Sample, error) {
			return r.live.sample(ctx, liveRate, length)
		}),
	}
	return contest
}

// fill writes documents of ten events each into the log and into the bare table.
func (r *rebuilding) fill(ctx context.Context, count int) error {
	const bare = `
		CREATE TABLE bare_events (position bigint PRIMARY KEY, id uuid NOT NULL, type text NOT NULL, at timestamptz NOT NULL, data jsonb NOT NULL);` + bareDocuments
	if _, err := r.log.pool.Exec(ctx, bare); err != nil {
		return err
	}
	const together = 10 // documents
	owners := newOwners(100)
	for made := 0; made < count; made += together * streamEvents {
		writes, rows := make([]eventstore.Write, together), [][]any{}
		for i := range writes {
			w := eventstore.Write{Stream: eventstore.NewStream("document", uuid.Must(uuid.NewV7())), Expect: eventstore.NoStream}
			owner := owners[(made+i)%len(owners)]
			for n := range streamEvents {
				e := documentEvent(owner, int64(n+1))
				w.Events = append(w.Events, e)
				rows = append(rows, []any{r.events, w.Stream.ID, "document.revised", time.Now(), e})
				r.events++
			}
			writes[i] = w
		}
		if _, err := r.log.store.Append(eventstore.WithMetadata(ctx, newMetadata()), writes...); err != nil {
			return err
		}
		columns := []string{"position", "id", "type", "at", "data"}
		if _, err := r.log.pool.CopyFrom(ctx, pgx.Identifier{"bare_events"}, columns, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
	}
	// The other tables are nobody's business here, and need not be filled.
	const others = `UPDATE atlas.projections SET position = (SELECT max(position) FROM atlas.events) WHERE name <> 'documents'`
	if _, err := r.log.pool.Exec(ctx, others); err != nil {
		return err
	}
	_, err := r.log.pool.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// side builds the table once in every sample, and counts what is there.
func (r *rebuilding) side(build func(context.Context) error, table string) measure.Side {
	return measure.Side{Sample: func(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
		s := &measure.Sample{Units: r.events}
		started := time.Now()
		if err := build(ctx); err != nil {
			return s, err
		}
		s.Took = time.Since(started)
		s.Latencies.Add(s.Took)
		return s, r.whole(ctx, table, r.events)
	}}
}

// whole says what is missing of a table of documents into which so many events were folded.
func (r *rebuilding) whole(ctx context.Context, table string, events int64) error {
	there, err := counting(r.log.pool, `SELECT coalesce(sum(version), 0)::bigint FROM `+table)(ctx)
	if err == nil && there != events {
		err = fmt.Errorf("%d of %d events are there", there, events)
	}
	return err
}

func (r *rebuilding) rebuild(ctx context.Context) error {
	_, err := r.workshop.Do(ctx, engine.KindRebuild, projections.Documents.ID(), engine.Options{}, nil)
	return err
}

// scan is the least that makes the same rows: one ordered scan, one decode per event, one COPY.
func (r *rebuilding) scan(ctx context.Context) error {
	if _, err := r.log.pool.Exec(ctx, `TRUNCATE bare_documents`); err != nil {
		return err
	}
	found, err := r.log.pool.Query(ctx, `SELECT id, at, data FROM bare_events ORDER BY position`)
	if err != nil {
		return err
	}
	type row struct {
		events.DocumentRevised
		version     int64
		first, last time.Time
	}
	all, order := map[uuid.UUID]*row{}, []uuid.UUID{}
	var id uuid.UUID
	var at time.Time
	var data []byte
	_, err = pgx.ForEachRow(found, []any{&id, &at, &data}, func() error {
		d := all[id]
		if d == nil {
			d = &row{first: at}
			all[id], order = d, append(order, id)
		}
		d.version, d.last = d.version+1, at
		return json.Unmarshal(data, &d.DocumentRevised)
	})
	if err != nil {
		return err
	}
	columns := []string{"id", "owner_id", "title", "body", "content_type", "tags", "status", "version", "created_at", "updated_at"}
	_, err = r.log.pool.CopyFrom(ctx, pgx.Identifier{"bare_documents"}, columns, pgx.CopyFromSlice(len(order), func(i int) ([]any, error) {
		d := all[order[i]]
		return []any{order[i], d.OwnerID, d.Title, d.Body, d.ContentType, d.Tags, "active", d.version, d.first, d.last}, nil
	}))
	return err
}

// upsert is what a table costs that is kept up event by event: one statement for each, a thousand in a transaction that
// does not wait for the disk. It folds as many as the time allows.
func (r *rebuilding) upsert(ctx context.Context, length time.Duration) (*measure.Sample, error) {
	const make = `DROP TABLE IF EXISTS bare_upserts; CREATE TABLE bare_upserts (LIKE bare_documents INCLUDING ALL)`
	if _, err := r.log.pool.Exec(ctx, make); err != nil {
		return nil, err
	}
	s := &measure.Sample{}
	started := time.Now()
	for at := int64(-1); time.Since(started) < length && s.Units < r.events; {
		n, last, err := r.upsertPage(ctx, at)
		if err != nil {
			return s, err
		}
		s.Units, at = s.Units+n, last
	}
	s.Took = time.Since(started)
	s.Latencies.Add(s.Took)
	return s, r.whole(ctx, "bare_upserts", s.Units)
}

func (r *rebuilding) upsertPage(ctx context.Context, after int64) (n, last int64, err error) {
	const page = `SELECT position, id, at, data FROM bare_events WHERE position > $1 ORDER BY position LIMIT 1000`
	const put = `
		INSERT INTO bare_upserts (id, owner_id, title, body, content_type, tags, status, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'active', 1, $7, $7)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body, content_type = excluded.content_type,
			tags = excluded.tags, version = bare_upserts.version + 1, updated_at = excluded.updated_at`
	type event struct {
		Position int64
		ID       uuid.UUID
		At       time.Time
		Data     events.DocumentRevised
	}
	err = pgx.BeginFunc(ctx, r.log.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, page, after)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
		if err != nil {
			return err
		}
		for _, e := range all {
			d := e.Data
			if _, err := tx.Exec(ctx, put, e.ID, d.OwnerID, d.Title, d.Body, d.ContentType, d.Tags, e.At); err != nil {
				return err
			}
			n, last = n+1, e.Position
		}
		return nil
	})
	return n, last, err
}
