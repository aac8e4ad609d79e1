package workers_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/workers"
	"github.com/atlas-platform/atlas/workers/outbox"
)

// into returns a handler that sends the ids of new documents into a channel.
func into(ids chan<- uuid.UUID) message.NoPublishHandlerFunc {
	return workers.On(func(_ *message.Message, d outbox.DocumentCreated) error {
		ids <- d.DocumentID
		return nil
	})
}

func TestAWorkerGetsTheMessagesOfItsContractInOrder(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 100)
	startRouter(t, l.Pool, func(r *workers.Router) { r.Handle("reader", outbox.Documents, into(got)) })
	for range 10 {
		id := newID()
		write(t, l, createDocument(id))
		write(t, l, commands.Document.On(id, commands.ArchiveDocument{By: ann}))
		if first := receive(t, got); first != id {
			t.Fatalf("got document %s, want %s", first, id)
		}
	}
}

func TestEveryWorkerGetsEveryMessageAndItsNodesShareThem(t *testing.T) {
	t.Parallel()
	const n = 30
	l := newLog(t)
	a, b := make(chan uuid.UUID, 10*n), make(chan uuid.UUID, 10*n)
	for _, node := range []*workers.Router{workers.New(l.Pool, quiet), workers.New(l.Node(t).Pool, quiet)} {
		node.Handle("a", outbox.Documents, into(a))
		node.Handle("b", outbox.Documents, into(b))
		background(t, node.Run)
	}
	var want []uuid.UUID
	for range n {
		want = append(want, newID())
		write(t, l, createDocument(want[len(want)-1]))
	}
	for name, got := range map[string]chan uuid.UUID{"a": a, "b": b} {
		for i, id := range want {
			if next := receive(t, got); next != id {
				t.Fatalf("worker %s: message %d is of %s, want %s", name, i, next, id)
			}
		}
		if len(got) > 0 {
			t.Errorf("worker %s got %d messages too many", name, len(got))
		}
	}
}

// TestAFailedMessageComesAgainUntilItSucceeds fails more often than a message is tried before it is given back.
func TestAFailedMessageComesAgainUntilItSucceeds(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 10)
	failures := 0
	startRouter(t, l.Pool, func(r *workers.Router) {
		r.Handle("failing", outbox.Documents, workers.On(func(m *message.Message, d outbox.DocumentCreated) error {
			if failures < 8 {
				failures++
				return errors.New("not yet")
			}
			if err := m.Context().Err(); err != nil {
				return err
			}
			got <- d.DocumentID
			return nil
		}))
	})
	first, second := newID(), newID()
	write(t, l, createDocument(first))
	write(t, l, createDocument(second))
	if a, b := receive(t, got), receive(t, got); a != first || b != second {
		t.Errorf("got %s and %s, want %s and %s", a, b, first, second)
	}
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 10)
	var once sync.Once
	startRouter(t, l.Pool, func(r *workers.Router) {
		r.Handle("panicking", outbox.Documents, func(m *message.Message) error {
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
	handle := workers.On(func(m *message.Message, d outbox.DocumentCreated) error {
		started <- d.DocumentID
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
		r := workers.New(l.Pool, quiet)
		r.Handle("slow", outbox.Documents, handle)
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

// TestALostConnectionDeliversAgain ends the subscriber's session while its message is handled.
func TestALostConnectionDeliversAgain(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	got := make(chan uuid.UUID, 10)
	var once sync.Once
	startRouter(t, l.Pool, func(r *workers.Router) {
		r.Handle("unlucky", outbox.Documents, workers.On(func(_ *message.Message, d outbox.DocumentCreated) error {
			once.Do(func() { cutOffHandlers(t, l.Pool) })
			got <- d.DocumentID
			return nil
		}))
	})
	first, second := newID(), newID()
	write(t, l, createDocument(first))
	write(t, l, createDocument(second))
	all := []uuid.UUID{receive(t, got), receive(t, got), receive(t, got)}
	if want := []uuid.UUID{first, first, second}; !slices.Equal(all, want) {
		t.Errorf("got %v, want %v", all, want)
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
	startRouter(t, l.Pool, func(r *workers.Router) {
		r.Handle("copier", outbox.Documents, workers.On(func(m *message.Message, d outbox.DocumentCreated) error {
			if d.DocumentID != source {
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
	startRouter(t, l.Pool, func(r *workers.Router) {
		r.Handle("reader", outbox.Documents, func(m *message.Message) error {
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
	for what, names := range map[string][][2]string{
		"an unknown topic": {{"a", outbox.Users}, {"b", "nothing"}},
		"a name twice":     {{"a", outbox.Users}, {"a", outbox.Documents}},
		"no name":          {{"", outbox.Users}},
	} {
		r := workers.New(l.Pool, quiet)
		for _, n := range names {
			r.Handle(n[0], n[1], ignore)
		}
		if err := r.Run(t.Context()); err == nil {
			t.Errorf("%s: no error", what)
		}
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
