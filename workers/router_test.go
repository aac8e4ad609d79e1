package workers_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers"
)

// into returns a handler that sends the ids of new documents into a channel.
func into(ids chan<- uuid.UUID) message.NoPublishHandlerFunc {
	return workers.On(func(_ *message.Message, d engine.Recorded[events.DocumentCreated]) error {
		ids <- d.Stream.ID
		return nil
	})
}

func TestAWorkerGetsTheEventsOfItsType(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 100)
	startRouter(t, l, func(r *workers.Router) { r.Handle("reader", created, into(got)) })
	for range 10 {
		id := newID()
		write(t, l, createDocument(id))
		write(t, l, commands.Document.On(id, commands.ArchiveDocument{By: ann}))
		if first := receive(t, got); first != id {
			t.Fatalf("got document %s, want %s", first, id)
		}
	}
}

func TestEveryWorkerGetsEveryEventAndItsNodesShareThem(t *testing.T) {
	t.Parallel()
	const n = 30
	l := newLog(t)
	a, b := make(chan uuid.UUID, 10*n), make(chan uuid.UUID, 10*n)
	for _, node := range []*workers.Router{newRouter(l), newRouter(l.Node(t))} {
		node.Handle("a", created, into(a))
		node.Handle("b", created, into(b))
		background(t, node.Run)
	}
	var want []uuid.UUID
	for range n {
		want = append(want, newID())
		write(t, l, createDocument(want[len(want)-1]))
	}
	for name, got := range map[string]chan uuid.UUID{"a": a, "b": b} {
		var came []uuid.UUID
		for range want {
			came = append(came, receive(t, got))
		}
		wantSame(t, came, want)
		if len(got) > 0 {
			t.Errorf("worker %s got %d messages too many", name, len(got))
		}
	}
}

// wantSame holds that two lists have the same ids: those of different streams come in any order.
func wantSame(t *testing.T, got, want []uuid.UUID) {
	t.Helper()
	byText := func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) }
	if !slices.Equal(slices.SortedFunc(slices.Values(got), byText), slices.SortedFunc(slices.Values(want), byText)) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// oneByOne has a worker work on one stream at a time.
func oneByOne(o *subscription.Options) { o.Concurrency = 1 }

// TestAFailedMessageComesAgainUntilItSucceeds fails more often than a message is tried at once.
func TestAFailedMessageComesAgainUntilItSucceeds(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 10)
	failures := 0
	startRouter(t, l, func(r *workers.Router) {
		r.Handle("failing", created, workers.On(func(m *message.Message, d engine.Recorded[events.DocumentCreated]) error {
			if failures < 8 {
				failures++
				return errors.New("not yet")
			}
			if err := m.Context().Err(); err != nil {
				return err
			}
			got <- d.Stream.ID
			return nil
		}), oneByOne)
	})
	first, second := newID(), newID()
	write(t, l, createDocument(first))
	write(t, l, createDocument(second))
	wantSame(t, []uuid.UUID{receive(t, got), receive(t, got)}, []uuid.UUID{first, second})
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 10)
	var once sync.Once
	startRouter(t, l, func(r *workers.Router) {
		r.Handle("panicking", created, func(m *message.Message) error {
			once.Do(func() { panic("oh no") })
			return into(got)(m)
		})
	})
	id := newID()
	write(t, l, createDocument(id))
	if again := receive(t, got); again != id {
		t.Errorf("got %s, want %s", again, id)
	}
}

// TestStoppingFinishesWhatIsInHand stops the router while a message is handled, several times: each is finished with a
// living context, none comes twice, and the next one waits for the next run.
func TestStoppingFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	started, finish, ended := make(chan uuid.UUID), make(chan struct{}), make(chan error)
	handle := workers.On(func(m *message.Message, d engine.Recorded[events.DocumentCreated]) error {
		started <- d.Stream.ID
		<-finish
		ended <- m.Context().Err()
		return nil
	})
	var want []uuid.UUID
	for range 5 {
		want = append(want, newID())
		write(t, l, createDocument(want[len(want)-1]))
	}
	for i, id := range want {
		ctx, cancel := context.WithCancel(context.Background())
		r := newRouter(l)
		r.Handle("slow", created, handle, oneByOne)
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if got := receive(t, started); got != id {
			t.Fatalf("run %d got %s, want %s", i, got, id)
		}
		cancel()
		select {
		case err := <-done:
			t.Fatalf("Run returned with a message in hand: %v", err)
		case finish <- struct{}{}:
		}
		if err := receive(t, ended); err != nil {
			t.Errorf("the context of a message in hand: %v", err)
		}
		if err := receive(t, done); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// TestCommandsOfAWorkerAreCarriedOutOnceAndSayWhy gives two commands per delivery, and fails the first delivery after
// them.
func TestCommandsOfAWorkerAreCarriedOutOnceAndSayWhy(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	handler := commands.NewHandler(l.Store)
	source, copied := newID(), newID()
	done := make(chan struct{}, 10)
	failures := 0
	startRouter(t, l, func(r *workers.Router) {
		r.Handle("copier", created, workers.On(func(m *message.Message, d engine.Recorded[events.DocumentCreated]) error {
			if d.Stream.ID != source {
				return nil
			}
			if _, err := handler.Handle(workers.Command(m, "copy"), createDocument(copied)); err != nil {
				return err
			}
			archive := commands.Document.On(copied, commands.ArchiveDocument{By: ann})
			if _, err := handler.Handle(workers.Command(m, "archive"), archive); err != nil {
				return err
			}
			if failures == 0 {
				failures++
				return errors.New("once more")
			}
			done <- struct{}{}
			return nil
		}))
	})
	correlation := newID()
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{CorrelationID: correlation, Traceparent: "00-trace"})
	if _, err := handler.Handle(ctx, createDocument(source)); err != nil {
		t.Fatal(err)
	}
	receive(t, done)
	cause := mustLoad(t, l, eventstore.NewStream("document", source))[0].ID
	effects := mustLoad(t, l, eventstore.NewStream("document", copied))
	if len(effects) != 2 {
		t.Fatalf("the copy has %d events, want created and archived once each", len(effects))
	}
	for _, e := range effects {
		m := e.Metadata
		if m.CorrelationID != correlation || m.CausationID != cause || m.Traceparent != "00-trace" {
			t.Errorf("%s comes from %+v, want correlation %s and cause %s", e.Type, m, correlation, cause)
		}
	}
}

func TestAnEventWithoutACorrelationBeginsOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan eventstore.Metadata, 1)
	startRouter(t, l, func(r *workers.Router) {
		r.Handle("reader", created, func(m *message.Message) error {
			got <- eventstore.MetadataFrom(m.Context())
			return nil
		})
	})
	id := newID()
	write(t, l, createDocument(id))
	event := mustLoad(t, l, eventstore.NewStream("document", id))[0].ID
	if m := receive(t, got); m.CorrelationID != event || m.CausationID != event {
		t.Errorf("got %+v, want correlation and cause %s", m, event)
	}
}

func TestARouterThatCannotWorkSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	ignore := func(*message.Message) error { return nil }
	unknown := eventstore.Filter{Types: []string{"document.sung"}}
	for what, chosen := range map[string]map[string][]eventstore.Filter{
		"an unknown type": {"a": {created}, "b": {unknown}},
		"a name twice":    {"a": {created, created}},
		"no name":         {"": {created}},
	} {
		r := newRouter(l)
		for name, filters := range chosen {
			for _, f := range filters {
				r.Handle(name, f, ignore)
			}
		}
		if err := r.Run(t.Context()); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestWhatFailedIsToldOutsideOfAllTries has a handler whose every third try succeeds, and one that fails for good: the
// quick tries lie inside, so the first is no failure of the subscription's, and the second is parked after one of its own.
func TestWhatFailedIsToldOutsideOfAllTries(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	refused := newID()
	outcomes := make(chan subscription.Outcome, 100)
	tries := map[uuid.UUID]int{}
	var mu sync.Mutex
	startRouter(t, l, func(r *workers.Router) {
		r.Observe(func(_ string, _ time.Duration, o subscription.Outcome) { outcomes <- o })
		r.Handle("picky", created, workers.On(func(_ *message.Message, d engine.Recorded[events.DocumentCreated]) error {
			mu.Lock()
			defer mu.Unlock()
			tries[d.Stream.ID]++
			switch {
			case d.Stream.ID == refused:
				return subscription.Permanent(errors.New("never"))
			case tries[d.Stream.ID] < 3:
				return errors.New("not yet")
			}
			return nil
		}))
	})
	write(t, l, createDocument(newID()))
	if got := receive(t, outcomes); got != subscription.Done {
		t.Errorf("what succeeds at the third try at once is %s, want done", got)
	}
	write(t, l, createDocument(refused))
	if got := receive(t, outcomes); got != subscription.Parked {
		t.Errorf("what fails for good is %s, want parked", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := tries[refused]; n != 1 {
		t.Errorf("what fails for good was tried %d times, want once", n)
	}
}

func TestARouterWithoutWorkersRunsUntilItIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := workers.New(nil, quiet).Run(ctx); err != nil {
		t.Error(err)
	}
}
