package eventstore_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")

func newStream() eventstore.Stream {
	return eventstore.NewStream("document", uuid.Must(uuid.NewV7()))
}

func created(title string) events.DocumentCreated {
	return events.DocumentCreated{OwnerID: ann, Title: title, Body: "body of " + title, ContentType: "text/markdown", Tags: []string{"a", "b"}}
}

// mustAppend appends and returns what happened to the first write's stream.
func mustAppend(t *testing.T, l *logtest.Log, writes ...eventstore.Write) eventstore.Outcome {
	t.Helper()
	o, err := l.Store.Append(context.Background(), writes...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mustLoad(t *testing.T, l *logtest.Log, s eventstore.Stream) []*eventstore.Recorded {
	t.Helper()
	got, err := l.Store.Load(context.Background(), s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mustEvent(t *testing.T, r *eventstore.Recorded) events.Event {
	t.Helper()
	e, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e
}
