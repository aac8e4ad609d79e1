package eventstore_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

var rareEvents = flag.Int64("rare.events", 200_000, "how many events the log has in which a rare one is looked for")

// vast returns a log of so many events. Every 50,000th is of a rare type, every 40,000th in a rare category. One type and
// one category are those of the first tenth of all and of none later, and PostgreSQL's statistics were taken when there
// was no more than that tenth. The event's number is its position.
func vast(t *testing.T, events int64) *logtest.Log {
	t.Helper()
	const insert = `
		INSERT INTO atlas.events (position, version, recorded_at, id, schema_version, stream, type, data, metadata)
		SELECT n, 1, now(), gen_random_uuid(), 1,
			CASE WHEN n % 40000 = 7 THEN 'rare-' WHEN n < $3 AND n % 2 = 0 THEN 'early-' ELSE (ARRAY['document-', 'user-', 'session-'])[n % 3 + 1] END || gen_random_uuid(),
			CASE WHEN n % 50000 = 17 THEN 'rare.happened' WHEN n < $3 THEN 'early.happened'
				ELSE (ARRAY['document.created', 'document.revised', 'user.registered', 'session.started'])[n % 4 + 1] END,
			jsonb_build_object('n', n), '{}'
		FROM generate_series($1::bigint, $2) n`
	l := logtest.New(t)
	tenth := events / 10
	for from := int64(1); from <= events; from += tenth {
		if _, err := l.Pool.Exec(t.Context(), insert, from, min(from+tenth-1, events), tenth); err != nil {
			t.Fatal(err)
		}
		if from == 1 {
			exec1(t, l, `ANALYZE atlas.events`)
		}
	}
	if _, err := l.Pool.Exec(t.Context(), `SELECT setval('atlas.events_position', $1)`, events); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestARareEventIsFoundWithoutAScan reads a large log by filters that choose few of its events or none, to the end, where
// the newest event is one of them. However large the log, only so many blocks are looked at. A category that is rare where
// it is looked for, and not elsewhere, is found too, by looking.
func TestARareEventIsFoundWithoutAScan(t *testing.T) {
	t.Parallel()
	count := *rareEvents
	l := vast(t, count)
	tenth := count / 10
	newest := mustAppend(t, l, eventstore.Write{Stream: eventstore.NewStream("rare", newStream().ID), Events: []events.Event{events.UserDisabled{}}}).Position()
	streams := []eventstore.Stream{streamAt(t, l, 40_007), streamAt(t, l, count/2), streamAt(t, l, newest)}
	cases := map[string]struct {
		filter eventstore.Filter
		after  int64
		want   []int64
		looks  bool
	}{
		"type":                {eventstore.Filter{Types: []string{"rare.happened", "user.disabled"}}, 0, append(every(50_000, 17, 0, count), newest), false},
		"category":            {eventstore.Filter{Categories: []string{"rare"}}, 0, append(every(40_000, 7, 0, count), newest), false},
		"two categories":      {eventstore.Filter{Categories: []string{"none", "rare"}}, count / 2, append(every(40_000, 7, count/2, count), newest), false},
		"streams":             {eventstore.Filter{Streams: streams}, 40_006, []int64{40_007, count / 2, newest}, false},
		"streams, later":      {eventstore.Filter{Streams: streams}, count / 2, []int64{newest}, false},
		"type in streams":     {eventstore.Filter{Streams: streams, Types: []string{"user.disabled"}, Categories: []string{"rare"}}, 0, []int64{newest}, false},
		"none":                {eventstore.Filter{Types: []string{"no.such"}}, 0, nil, false},
		"type in a rare":      {eventstore.Filter{Types: []string{"rare.happened", "document.created"}, Categories: []string{"none"}}, count - 10_000, nil, false},
		"no longer":           {eventstore.Filter{Types: []string{"early.happened"}}, tenth, nil, false},
		"no longer, rare":     {eventstore.Filter{Types: []string{"early.happened", "rare.happened"}}, tenth, every(50_000, 17, tenth, count), false},
		"category, no longer": {eventstore.Filter{Categories: []string{"early"}}, tenth, nil, true},
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		store, seen := explained(t, l, mode)
		for name, c := range cases {
			began := time.Now()
			got := positionsOf(t, store, c.filter, c.after, newest, 100)
			took := time.Since(began)
			blocks, statements := seen.blocks()
			t.Logf("%s, %s: %d of %d events in %d statements, %d blocks, %s", mode, name, len(got), count, statements, blocks, took)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: got %v, want %v", mode, name, got, c.want)
			}
			if most := 500 + 20*len(c.want); statements == 0 || blocks > most && !c.looks {
				t.Errorf("%s, %s: %d statements looked at %d blocks, want %d at most", mode, name, statements, blocks, most)
			}
		}
	}
}

// streamAt returns the stream of the event at a position.
func streamAt(t *testing.T, l *logtest.Log, position int64) (s eventstore.Stream) {
	t.Helper()
	var name string
	if err := l.Pool.QueryRow(t.Context(), `SELECT stream FROM atlas.events WHERE position = $1`, position).Scan(&name); err != nil {
		t.Fatal(err)
	}
	s, err := eventstore.ParseStream(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// every returns the positions after one up to another that leave the remainder.
func every(n, remainder, after, upto int64) (all []int64) {
	for p := remainder; p <= upto; p += n {
		if p > after {
			all = append(all, p)
		}
	}
	return all
}

// positionsOf reads to the end of a range.
func positionsOf(t *testing.T, s *eventstore.Store, f eventstore.Filter, after, upto int64, limit int) (all []int64) {
	t.Helper()
	for after < upto {
		b, err := s.ReadAll(t.Context(), after, upto, f, limit)
		if err != nil {
			t.Fatal(err)
		}
		if b.Upto <= after || len(b.Events) > limit {
			t.Fatalf("a batch after %d reaches %d with %d events", after, b.Upto, len(b.Events))
		}
		for _, r := range b.Events {
			if r.Position <= after || r.Position > b.Upto {
				t.Fatalf("position %d in a batch after %d up to %d", r.Position, after, b.Upto)
			}
			all = append(all, r.Position)
		}
		after = b.Upto
	}
	return all
}
