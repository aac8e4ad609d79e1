package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/projections"
	"github.com/atlas-platform/atlas/projections/engine"
)

// A life draws the next event of a stream, given how many it has; nil ends the stream.
type life func(rt *rapid.T, n int) events.Event

func userLife(rt *rapid.T, n int) events.Event {
	if n == 0 {
		return events.UserRegistered{UserID: ann, Email: text(rt), Name: text(rt), PasswordHash: "x", Roles: texts(rt)}
	}
	return rapid.SampledFrom([]events.Event{events.UserNameChanged{UserID: ann, Name: text(rt)}, events.UserDisabled{UserID: ann, Epoch: 1}}).Draw(rt, "event")
}

func sessionLife(rt *rapid.T, n int) events.Event {
	return []events.Event{events.SessionStarted{UserID: ann}, events.SessionEnded{UserID: ann, Reason: text(rt)}, nil}[n]
}

func documentLife(rt *rapid.T, n int) events.Event {
	if n == 0 {
		return events.DocumentCreated{OwnerID: ann, Title: text(rt), Body: text(rt), ContentType: "text/plain", Tags: texts(rt)}
	}
	return rapid.SampledFrom([]events.Event{
		events.DocumentRevised{OwnerID: ann, Title: text(rt), Body: text(rt), ContentType: "text/html", Tags: texts(rt)},
		events.DocumentArchived{}, events.DocumentRestored{}, events.DocumentDeleted{},
	}).Draw(rt, "event")
}

// text draws anything that an event may hold.
func text(rt *rapid.T) string {
	return strings.ReplaceAll(rapid.String().Draw(rt, "text"), "\x00", "")
}

func texts(rt *rapid.T) []string {
	var all []string
	for range rapid.IntRange(0, 3).Draw(rt, "texts") {
		all = append(all, text(rt))
	}
	return all
}

func TestHoweverTheLogIsCutTheRowsAreTheSame(t *testing.T) {
	t.Parallel()
	l := newLog(t, projections.Catalog()...)
	t.Run("users", func(t *testing.T) { requireSameRows(t, l.Pool, projections.Users, userLife, byStream) })
	t.Run("sessions", func(t *testing.T) { requireSameRows(t, l.Pool, projections.Sessions, sessionLife, byStream) })
	t.Run("documents", func(t *testing.T) { requireSameRows(t, l.Pool, projections.Documents, documentLife, byStream) })
	t.Run("document history", func(t *testing.T) { requireSameRows(t, l.Pool, projections.DocumentHistory, documentLife, byEvent) })
}

func byStream(r *eventstore.Recorded) string { return r.Stream.String() }
func byEvent(r *eventstore.Recorded) string  { return fmt.Sprint(r.Position) }

// requireSameRows folds random logs batch by batch, at once, and without a database. rowOf names the row of an event.
func requireSameRows[R any](t *testing.T, pool *pgxpool.Pool, v *engine.View[R], next life, rowOf func(*eventstore.Recorded) string) {
	vocabulary := logtest.Vocabulary(t)
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt, vocabulary, next)
		var batches [][]*eventstore.Recorded
		for rest := log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			batches, rest = append(batches, rest[:n]), rest[n:]
		}
		want := foldedRows(rt, v, log, rowOf)
		if diff := cmp.Diff(want, tableRows(rt, pool, v, log)); diff != "" {
			rt.Errorf("at once (-folded +table):\n%s", diff)
		}
		if diff := cmp.Diff(want, tableRows(rt, pool, v, batches...)); diff != "" {
			rt.Errorf("in %d batches (-folded +table):\n%s", len(batches), diff)
		}
	})
}

// drawLog draws some streams, their events shuffled into one log.
func drawLog(rt *rapid.T, v *events.Vocabulary, next life) (log []*eventstore.Recorded) {
	versions := make([]int, 3)
	ended := make([]bool, len(versions))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range rapid.IntRange(1, 20).Draw(rt, "events") {
		i := rapid.IntRange(0, len(versions)-1).Draw(rt, "stream")
		if ended[i] {
			continue
		}
		e := next(rt, versions[i])
		if e == nil {
			ended[i] = true
			continue
		}
		typ, err := v.Of(e)
		if err != nil {
			rt.Fatal(err)
		}
		versions[i]++
		at = at.Add(time.Duration(rapid.IntRange(0, 1e6).Draw(rt, "µs")) * time.Microsecond)
		stream := eventstore.NewStream(typ.Category(), uuid.UUID{15: byte(i + 1)})
		r, err := eventstore.NewRecorded(v, stream, int64(versions[i]), int64(len(log)+1), at, e)
		if err != nil {
			rt.Fatal(err)
		}
		r.Metadata.Client = eventstore.Client{Address: "192.0.2.7", UserAgent: text(rt)}
		log = append(log, r)
	}
	return log
}

// foldedRows returns the rows by View.Fold, as JSON tells them.
func foldedRows[R any](rt *rapid.T, v *engine.View[R], log []*eventstore.Recorded, rowOf func(*eventstore.Recorded) string) (rows []R) {
	apart := map[string][]*eventstore.Recorded{}
	for _, r := range log {
		apart[rowOf(r)] = append(apart[rowOf(r)], r)
	}
	for _, of := range apart {
		row, found, err := v.Fold(of)
		if err != nil {
			rt.Fatal(err)
		}
		if found {
			rows = append(rows, parsed[R](rt, asJSON(rt, row)))
		}
	}
	return sorted(rt, rows)
}

// tableRows returns the rows of the table after it took the batches, and leaves it empty.
func tableRows[R any](rt *rapid.T, pool *pgxpool.Pool, v *engine.View[R], batches ...[]*eventstore.Recorded) (rows []R) {
	ctx := context.Background()
	tx, err := pool.Begin(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	defer tx.Rollback(ctx)
	for _, b := range batches {
		if err := engine.Apply(ctx, tx, v, b); err != nil {
			rt.Fatal(err)
		}
	}
	stored, err := tx.Query(ctx, `SELECT row_to_json(t) FROM `+v.Table()+` t`)
	if err != nil {
		rt.Fatal(err)
	}
	raw, err := pgx.CollectRows(stored, pgx.RowTo[json.RawMessage])
	if err != nil {
		rt.Fatal(err)
	}
	for _, r := range raw {
		rows = append(rows, parsed[R](rt, r))
	}
	return sorted(rt, rows)
}

func sorted[R any](rt *rapid.T, rows []R) []R {
	slices.SortFunc(rows, func(a, b R) int { return strings.Compare(string(asJSON(rt, a)), string(asJSON(rt, b))) })
	return rows
}

func asJSON(rt *rapid.T, row any) []byte {
	raw, err := json.Marshal(row)
	if err != nil {
		rt.Fatal(err)
	}
	return raw
}

func parsed[R any](rt *rapid.T, raw []byte) (row R) {
	if err := json.Unmarshal(raw, &row); err != nil {
		rt.Fatal(err)
	}
	return row
}
