package bench

import (
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
	Name:    "rebuild",
	About:   "rebuild the documents' table, beside a bare scan, JSON decode and COPY of the same documents, not encrypted (1 M events: --duration 50s)",
	Clients: []int{1},
	Open:    openRebuild,
}

// rebuildRate is about how many events are rebuilt in a second: it makes a log of a sample's length.
const rebuildRate = 20_000

// rebuilding is a log of documents, and the same in a bare table.
type rebuilding struct {
	log      *testLog
	workshop *engine.Workshop
	events   int64
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
	if err := r.fill(ctx, max(int(s.Length.Seconds()*rebuildRate), 100)); err != nil {
		l.pool.Close()
		return Contest{}, err
	}
	build := func() (string, error) { return "bench", nil }
	r.workshop = engine.NewWorkshop(l.store, l.pool, slog.New(slog.DiscardHandler), build, folded())
	return Contest{Close: l.pool.Close, Contest: measure.Contest{
		Unit: "events/s", Memory: true, Atlas: r.side(r.rebuild, projections.Documents.Table()), Bare: r.side(r.scan, "bare_documents"),
	}}, nil
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
		there, err := counting(r.log.pool, `SELECT count(*) FROM `+table)(ctx)
		if err == nil && there != r.events/streamEvents {
			err = fmt.Errorf("%d of %d documents are there", there, r.events/streamEvents)
		}
		return s, err
	}}
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
