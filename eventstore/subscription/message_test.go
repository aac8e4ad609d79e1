package subscription

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

func TestAMessageSaysWhereItComesFrom(t *testing.T) {
	t.Parallel()
	stream := newStream()
	at := time.Date(2026, 3, 1, 12, 30, 0, 5_000_000, time.UTC)
	e, err := eventstore.NewRecorded(logtest.Vocabulary(t), stream, 7, 1234567, at, events.DocumentArchived{})
	if err != nil {
		t.Fatal(err)
	}
	bare := message.Metadata{
		MetaEvent: e.ID.String(), MetaStream: stream.String(), MetaStreamVersion: "7", MetaPosition: "1234567",
		MetaType: "document.archived", MetaSchema: "1", MetaOccurredAt: "2026-03-01T12:30:00.005Z",
	}
	want := func(why string, want message.Metadata) {
		t.Helper()
		msg, err := newMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, msg.Metadata); diff != "" || msg.UUID != e.ID.String() || !json.Valid(msg.Payload) {
			t.Errorf("%s: message %s with payload %s has other metadata than it should:\n%s", why, msg.UUID, msg.Payload, diff)
		}
	}
	want("without a cause", bare)
	cause := uuid.New()
	e.Metadata.CausationID = cause
	bare[MetaCausation] = cause.String()
	want("with a cause", bare)
	e.Metadata.CorrelationID, e.Metadata.Traceparent = cause, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	bare[MetaCorrelation], bare[MetaTraceparent] = cause.String(), e.Metadata.Traceparent
	want("with all there is", bare)
}
