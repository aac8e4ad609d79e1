package subscription

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// TestWhoWasForgottenWhileAMessageWaitedIsNotInIt forgets a person while messages about them wait in memory.
func TestWhoWasForgottenWhileAMessageWaitedIsNotInIt(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	person := uuid.Must(uuid.NewV7())
	stream := eventstore.NewStream("document", uuid.Must(uuid.NewV7()))
	created := events.DocumentCreated{OwnerID: person, Title: "Diary", ContentType: "text/markdown"}
	if _, err := l.Store.Append(t.Context(), eventstore.Write{Stream: stream, Events: []events.Event{created, created}}); err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	titles := make(chan string, 2)
	var first atomic.Bool
	consume(t, subscriptions, documents("g"), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
		if !first.Swap(true) {
			entered <- struct{}{}
			<-release
		}
		event, err := e.Event()
		titles <- event.(events.DocumentCreated).Title
		return err
	})
	receive(t, entered)
	mustExec(t, l, `UPDATE atlas.subject_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = $1`, person)
	l.Keys.Forgotten(person)
	close(release)
	if before, after := receive(t, titles), receive(t, titles); before != "Diary" || after != "" {
		t.Errorf("read %q and %q, want the title, and nothing once its owner was forgotten", before, after)
	}
}
