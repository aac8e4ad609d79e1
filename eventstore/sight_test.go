package eventstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

var creations = []string{"document.created"}

func creation(s eventstore.Stream) eventstore.Write {
	return eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: []events.Event{created("Plan")}}
}

func streamsOf(seen eventstore.Sight) map[eventstore.Stream]bool {
	streams := map[eventstore.Stream]bool{}
	for _, r := range seen.Events {
		streams[r.Stream] = true
	}
	return streams
}

// TestLookingAheadOfTheHorizonMissesNothing holds an append open while another is committed behind it: the second is
// seen at once, and the first when it is committed, by reading on from the horizon.
func TestLookingAheadOfTheHorizonMissesNothing(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	slow, fast := newStream(), newStream()
	tx, _ := openAppend(t, l, slow)
	position := mustAppend(t, l, creation(fast)).Position()
	for name, look := range map[string]func() (eventstore.Sight, error){
		"recent": func() (eventstore.Sight, error) { return l.Store.ReadRecent(t.Context(), time.Minute, creations) },
		"beyond": func() (eventstore.Sight, error) { return l.Store.ReadBeyond(t.Context(), 0, creations) },
	} {
		seen, err := look()
		if err != nil {
			t.Fatal(err)
		}
		if got := streamsOf(seen); len(got) != 1 || !got[fast] {
			t.Errorf("%s: saw %v, want %v alone", name, got, fast)
		}
		if seen.Horizon >= position {
			t.Errorf("%s: horizon %d reaches the event at %d, which an open append may still precede", name, seen.Horizon, position)
		}
	}
	before, err := l.Store.ReadBeyond(t.Context(), 0, creations)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := l.Store.ReadBeyond(t.Context(), before.Horizon, creations)
	if err != nil {
		t.Fatal(err)
	}
	if got := streamsOf(after); !got[slow] || !got[fast] {
		t.Errorf("after the commit: saw %v, want both", got)
	}
	if !after.Server.Equal(before.Server) {
		t.Errorf("the server is said to have started at %s and at %s", before.Server, after.Server)
	}
}

func TestRecentIsWhatWasRecordedWithinTheTimeAndOfTheTypes(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	mustAppend(t, l, creation(newStream()))
	mustAppend(t, l, eventstore.Write{Stream: newStream(), Events: []events.Event{events.DocumentDeleted{}}})
	for within, want := range map[time.Duration]int{time.Hour: 1, -time.Hour: 0} {
		seen, err := l.Store.ReadRecent(t.Context(), within, creations)
		if err != nil {
			t.Fatal(err)
		}
		if len(seen.Events) != want {
			t.Errorf("within %s: saw %d events, want %d", within, len(seen.Events), want)
		}
	}
}

// TestStatementsThatAreSentTogetherSeeWhatWasCommittedBetweenThem holds what the tail needs, which sends for the horizon and
// for events at once: the first statement here waits for an append, which its own snapshot cannot show, and the second shows it.
func TestStatementsThatAreSentTogetherSeeWhatWasCommittedBetweenThem(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(7)`); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Store.AppendTx(t.Context(), tx, eventstore.Write{Stream: newStream(), Events: []events.Event{created("x")}}); err != nil {
		t.Fatal(err)
	}
	var before, after int
	var both pgx.Batch
	both.Queue(`SELECT count(*) FROM (SELECT pg_advisory_lock(7)) l, atlas.events`).QueryRow(func(r pgx.Row) error { return r.Scan(&before) })
	both.Queue(`SELECT count(*) FROM atlas.events`).QueryRow(func(r pgx.Row) error { return r.Scan(&after) })
	done := make(chan error, 1)
	go func() { done <- l.Pool.SendBatch(context.Background(), &both).Close() }()
	<-waiting(t, l)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if before != 0 || after != 1 {
		t.Errorf("the statement that waited saw %d events, the next one %d; want 0 and 1", before, after)
	}
}
