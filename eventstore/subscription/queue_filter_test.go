package subscription

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// deleted appends a document's end.
func deleted(t testing.TB, l *logtest.Log, stream eventstore.Stream) {
	t.Helper()
	_, err := l.Store.Append(context.Background(), eventstore.Write{
		Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentDeleted{}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func deletions(q *Queue) { q.Filter.Types = []string{"document.deleted"} }

// TestAQueueHandsOutWhatWasChosenAlone has what was not chosen lie between what was, in one stream.
func TestAQueueHandsOutWhatWasChosenAlone(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, deletions)
	stream := newStream()
	for range 3 {
		write(t, l, stream, 2)
		deleted(t, l, stream)
	}
	for version := int64(3); version <= 9; version += 3 {
		m := lease(t, q, 1)[0]
		if at(m) != version {
			t.Fatalf("got version %d, a %s; want version %d", at(m), m.Event.Type, version)
		}
		done(t, q, m)
	}
	nothing(t, q, "when all is done")
}

// TestAQueueThatIsMadeAnewHasNothingOfItsForerunner: a node that took the log in for the one that was deleted knows its place
// and its filter.
func TestAQueueThatIsMadeAnewHasNothingOfItsForerunner(t *testing.T) {
	t.Parallel()
	l, q := newQueue(t, deletions)
	deleted(t, l, newStream())
	done(t, q, lease(t, q, 1)[0])
	nothing(t, q, "when all is done")
	if err := q.Delete(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	heir := Queue{Definition: documents("q"), Owner: uuid.New()}
	heir.Start = Now()
	if _, err := q.CreateQueue(t.Context(), heir); err != nil {
		t.Fatal(err)
	}
	stream := newStream()
	write(t, l, stream, 1)
	deleted(t, l, newStream())
	if m := lease(t, q, 1)[0]; m.Event.Stream != stream {
		t.Errorf("got %s of %s, want what the former queue did not choose", m.Event.Type, m.Event.Stream)
	}
}
