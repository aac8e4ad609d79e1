package workers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// gate stands between a subscriber and the router, so that stopping does not cut off what is in hand. By themselves, the
// router ends the contexts of its handlers when it is told to stop, and the subscriber rolls back the message it has
// delivered.
type gate struct {
	message.Subscriber
	running context.Context // ends when no more messages shall be delivered
	cut     context.Context // ends when those in hand have had their time
	open    *sync.WaitGroup
	log     *slog.Logger
}

// Subscribe waits for a database that is away.
func (g *gate) Subscribe(_ context.Context, topic string) (<-chan *message.Message, error) {
	for {
		in, err := g.Subscriber.Subscribe(g.cut, topic)
		if err == nil {
			out := make(chan *message.Message)
			g.open.Go(func() { g.pass(in, out) })
			return out, nil
		}
		if !postgres.IsConnectionLost(err) {
			return nil, err
		}
		g.log.Warn("worker waits for the database", "topic", topic, "error", err)
		select {
		case <-g.running.Done():
			return nil, g.running.Err()
		case <-time.After(resubscribe):
		}
	}
}

// Close does nothing: pass closes the subscriber when it has nothing in hand.
func (g *gate) Close() error { return nil }

// pass hands messages on, one at a time, until the gate shuts. Then it waits for the subscriber to record the last ack.
func (g *gate) pass(in <-chan *message.Message, out chan<- *message.Message) {
	defer close(out)
	defer func() {
		if err := g.Subscriber.Close(); err != nil {
			g.log.Warn("subscriber not closed", "error", err)
		}
	}()
	for {
		select {
		case <-g.running.Done():
			return
		case m, ok := <-in:
			if !ok {
				return
			}
			noticed := m.Context().Done() // by the subscriber, that the message was handled
			out <- m
			g.settle(m, noticed)
		}
	}
}

// settle waits until a message is handled and its subscriber knows. Closed earlier, it may take the closing for the
// answer and deliver again.
func (g *gate) settle(m *message.Message, noticed <-chan struct{}) {
	select {
	case <-m.Acked():
		<-noticed
	case <-m.Nacked():
	case <-g.cut.Done():
	}
}
