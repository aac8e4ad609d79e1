package subscription

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// backlog appends n events to n/each streams, an event at a time in each.
func backlog(t testing.TB, l *logtest.Log, n, each int) {
	t.Helper()
	streams := make([]eventstore.Stream, n/each)
	for i := range streams {
		streams[i] = newStream()
	}
	for range each {
		for at := 0; at < len(streams); at += 100 {
			var writes []eventstore.Write
			for _, s := range streams[at:min(at+100, len(streams))] {
				writes = append(writes, eventstore.Write{Stream: s, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}})
			}
			if _, err := l.Store.Append(context.Background(), writes...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// BenchmarkBacklog reads a backlog of 100,000 messages from the subscriber's channel.
func BenchmarkBacklog(b *testing.B) {
	const n = 100_000
	l, subscriptions := newLog(b)
	backlog(b, l, n, 10)
	for b.Loop() {
		s, err := NewSubscriber(subscriptions, SubscriberConfig{Group: uuid.NewString()})
		if err != nil {
			b.Fatal(err)
		}
		started := time.Now()
		messages, err := s.Subscribe(b.Context(), "document")
		if err != nil {
			b.Fatal(err)
		}
		var first time.Time
		for i := range n {
			(<-messages).Ack()
			if i == 0 {
				first = time.Now()
			}
		}
		b.ReportMetric(n/time.Since(started).Seconds(), "messages/s")
		b.ReportMetric(float64(first.Sub(started).Milliseconds()), "first-ms")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		fmt.Println(n / time.Since(first).Seconds())
	}
}
