package subscription

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(victimVariable); url != "" {
		runVictim(url)
	}
	pgtest.Main(m)
}

// patience is how long something may take that must come to pass, on a machine that has other things to do.
const patience = time.Minute

var quiet = slog.New(slog.DiscardHandler)

// newLog returns a log and subscriptions on it.
func newLog(t testing.TB) (*logtest.Log, *Log) {
	t.Helper()
	l := logtest.New(t, Migrations())
	return l, on(l)
}

func on(l *logtest.Log) *Log { return New(l.Pool, l.Store, l.Tail, testLogger()) }

func testLogger() *slog.Logger {
	if os.Getenv("SUBSCRIPTION_TEST_LOG") == "" {
		return quiet
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func newStream() eventstore.Stream { return eventstore.NewStream("document", uuid.Must(uuid.NewV7())) }

// write appends n events to a stream.
func write(t testing.TB, l *logtest.Log, stream eventstore.Stream, n int) (last int64) {
	t.Helper()
	o, err := l.Store.Append(context.Background(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: archived(n)})
	if err != nil {
		t.Fatal(err)
	}
	return o.Position()
}

func archived(n int) []events.Event {
	facts := make([]events.Event, n)
	for i := range facts {
		facts[i] = events.DocumentArchived{}
	}
	return facts
}

// quick has a member record soon how far it has read, since tests wait for that.
func quick(o Options) Options {
	o.idle = cmp.Or(o.idle, 100*time.Millisecond)
	return o
}

// consume runs a worker of the group until the test ends or stop is called.
func consume(t testing.TB, l *Log, d Definition, o Options, handle Handler) (stop func()) {
	t.Helper()
	if err := l.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return running(t, func(ctx context.Context) error { return l.Consume(ctx, d, quick(o), handle) })
}

// running has something run until the test ends or stop is called, which waits for its end.
func running(t testing.TB, run func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// way is how a process works for a group: consume is one.
type way func(t testing.TB, l *Log, d Definition, o Options, handle Handler) (stop func())

// inEveryWay runs a test with a plain function as the handler, and with a handler of a Watermill router.
func inEveryWay(t *testing.T, test func(t *testing.T, work way)) {
	for name, work := range map[string]way{"function": consume, "watermill": consumeByRouter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, work)
		})
	}
}

// consumeByRouter is consume with a Watermill router, whose handler has the context of its message.
func consumeByRouter(t testing.TB, l *Log, d Definition, o Options, handle Handler) (stop func()) {
	t.Helper()
	s, err := NewSubscriber(l, SubscriberConfig{Group: d.Name, Definition: func(string, string) Definition { return d }, Options: quick(o)})
	if err != nil {
		t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router.AddConsumerHandler("handler", d.Name, s, func(m *message.Message) error {
		err := handle(m.Context(), Event(m.Context()))
		Report(m.Context(), err)
		return err
	})
	return running(t, router.Run)
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	watchtest.Eventually(t, patience, what, holds)
}

func receive[T any](t testing.TB, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}
