package subscription

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

type documentPrinted struct {
	Copies int `json:"copies"`
}

// newerRelease is the log as a newer binary has it: documents are archived in a second shape, and can be printed.
func newerRelease(t *testing.T, l *logtest.Log) (node *logtest.Log) {
	t.Helper()
	same := func(v1 json.RawMessage) (json.RawMessage, error) { return v1, nil }
	types := slices.DeleteFunc(events.Catalog(), func(typ events.Type) bool { return typ.Name == "document.archived" })
	types = append(types, events.Define[events.DocumentArchived]("document.archived", same), events.Define[documentPrinted]("document.printed"))
	v, err := events.NewVocabulary(types...)
	if err != nil {
		t.Fatal(err)
	}
	node = l.Node(t)
	node.Store = eventstore.New(node.Pool, v, node.Keys)
	node.Tail = eventstore.NewTail(node.Store, eventstore.NewWaker(node.Store, quiet), quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Tail.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return node
}

// What an older process cannot read waits with its stream, is neither skipped nor parked, and comes to a newer one in order.
func TestWhatANewerReleaseWroteWaitsForIt(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]events.Event{"a newer shape": events.DocumentArchived{}, "a newer type": documentPrinted{Copies: 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, log := newLog(t)
			node := newerRelease(t, l)
			var done journal
			read := func(_ context.Context, e *eventstore.Recorded) error {
				if _, err := e.Event(); err != nil {
					return err
				}
				done.note(e)
				return nil
			}
			stop := consume(t, log, documents("readers"), soon(1), read)
			waiting, other := newStream(), newStream()
			for _, said := range []events.Event{first, events.DocumentRestored{}} {
				write := eventstore.Write{Stream: waiting, Expect: eventstore.AnyVersion, Events: []events.Event{said}}
				if _, err := node.Store.Append(t.Context(), write); err != nil {
					t.Fatal(err)
				}
			}
			o, err := l.Store.Append(t.Context(), eventstore.Write{Stream: other, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentRestored{}}})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "other streams go on, and the one is held", func() bool {
				s := mustShow(t, log, "readers")
				return len(done.of(other)) == 1 && s.Held == 1 && s.Position >= o.Position()
			})
			if s := mustShow(t, log, "readers"); s.Parked != 0 || len(done.of(waiting)) != 0 {
				t.Errorf("%d messages are parked and %v were done, want it to wait", s.Parked, done.of(waiting))
			}
			stop()
			consume(t, on(node), documents("readers"), soon(1), read)
			settled(t, log, "readers", o.Position())
			if diff := cmp.Diff([]int64{1, 2}, done.of(waiting)); diff != "" {
				t.Errorf("the newer one had (-want +got):\n%s", diff)
			}
			if got := done.count(); got != 3 {
				t.Errorf("%d messages were done, want 3", got)
			}
		})
	}
}
