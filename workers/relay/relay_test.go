package relay

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

func TestEachMessageIsForwardedOnceInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(2500)
	w.relay()
	w.awaitAll()
	w.write(3)
	w.awaitAll()
	w.wantEachOnceInOrder()
}

func TestAMessageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(1)
	w.relay()
	w.awaitAll()
	m := consume(t, w.js)[0]
	id := w.ids()[0]
	if m.Subject() != "atlas.users.user.registered.v1" || string(m.Data()) != `{"n": 1}` {
		t.Errorf("got %s on %s", m.Data(), m.Subject())
	}
	want := nats.Header{
		"contract": {"user.registered.v1"}, "stream": {"user-1"}, "stream_version": {"1"},
		HeaderUUID: {id}, jetstream.MsgIDHeader: {id}, jetstream.ExpectedStreamHeader: {"atlas-users"}, jetstream.ExpectedLastSeqHeader: {"0"},
	}
	if diff := cmp.Diff(want, m.Headers()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestTheGroupsOffsetFollows is for whoever prunes: what is not forwarded must be seen to be needed.
func TestTheGroupsOffsetFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(7)
	stop := w.relay()
	w.awaitAll()
	stop()
	w.write(1)
	var behind int
	const q = `
		SELECT count(*) FROM outbox.users, outbox.users_offsets
		WHERE consumer_group = 'atlas.relay' AND "offset" > offset_acked`
	if err := w.pool.QueryRow(t.Context(), q).Scan(&behind); err != nil || behind != 1 {
		t.Errorf("%d messages are ahead of the group atlas.relay (%v), want the one that came since", behind, err)
	}
}

func TestWithoutItsStreamARelayStandsStillAndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(5)
	w.relay()
	w.awaitError(ErrNoStream)
	w.setUp(Wish{})
	w.awaitAll()
	if s := w.status(); s.Error != "" || s.ErrorSince != nil {
		t.Errorf("it goes on and still says %q", s.Error)
	}
	w.wantEachOnceInOrder()
}

// TestAStreamThatIsRemovedIsFilledAnew removes it under a relay at work: the new one gets all that the outbox holds.
func TestAStreamThatIsRemovedIsFilledAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(50)
	w.relay()
	w.awaitAll()
	if err := w.js.DeleteStream(t.Context(), users.stream()); err != nil {
		t.Fatal(err)
	}
	w.write(50)
	w.awaitError(ErrNoStream)
	w.setUp(Wish{})
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestAFullStreamHoldsTheRelayBack has a stream that takes 100 messages, and no more until it may.
func TestAFullStreamHoldsTheRelayBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	few, more := int64(100), int64(10_000)
	w.setUp(Wish{MaxMsgs: &few})
	w.write(3000)
	w.relay()
	w.awaitError(ErrFull)
	if s := w.status(); s.Lag != 2900 || len(consume(t, w.js)) != 100 {
		t.Errorf("%d messages wait, want the 2900 that the stream does not take", s.Lag)
	}
	w.setUp(Wish{MaxMsgs: &more})
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestAnOutageOfTheBrokerLosesAndDoublesNothing stops the broker three times while messages are written all along, and has
// one consumer listen from the first to the last.
func TestAnOutageOfTheBrokerLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	w := newWorldWith(t, server)
	w.setUp(shortWindow())
	got := make(chan string, 100_000)
	w.listen(got)
	w.relay()
	w.relay() // and one that stands by
	for range 3 {
		before := w.status().Offset
		for range 20 {
			w.write(100)
		}
		watchtest.Eventually(t, patience, "some is forwarded", func() bool { return w.status().Offset > before })
		server.Stop()
		for range 10 {
			w.write(100)
		}
		server.Restart()
	}
	w.awaitAll()
	w.wantEachOnceInOrder()
	want := w.ids()
	heard := make([]string, 0, len(want))
	watchtest.Eventually(t, patience, "the consumer has them all", func() bool {
		for len(got) > 0 {
			heard = append(heard, <-got)
		}
		return len(heard) >= len(want)
	})
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Errorf("who listened all along heard (-outbox +heard):\n%s", diff)
	}
}

// listen has an ordered consumer hear the stream until the test ends.
func (w *world) listen(heard chan<- string) {
	w.t.Helper()
	consumer, err := w.js.OrderedConsumer(context.Background(), users.stream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	listening, err := consumer.Consume(func(m jetstream.Msg) { heard <- m.Headers().Get(jetstream.MsgIDHeader) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(listening.Stop)
}
