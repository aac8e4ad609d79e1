package relay

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/workers/outbox"
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

// keeper prunes what was forwarded, and takes every group that is behind for abandoned which nobody attends to.
func (w *world) keeper() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := outbox.Options{Retention: -1, AbandonAfter: time.Nanosecond, Interval: 20 * time.Millisecond}
	done := make(chan error, 1)
	go func() { done <- outbox.NewKeeper(w.pool, []string{topic}, o, slog.New(slog.DiscardHandler)).Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestWhileARelayRunsItsTopicsAreKept has one that waits for its stream, for longer than a group may stand still.
func TestWhileARelayRunsItsTopicsAreKept(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 3)
	if err := w.js.DeleteStream(t.Context(), users.stream()); err != nil {
		t.Fatal(err)
	}
	w.keeper()
	watchtest.Eventually(t, patience, "what was forwarded is pruned", func() bool { return len(w.ids()) == 0 })
	w.relay()
	w.awaitError(ErrNoStream)
	w.await(`SELECT attended_at IS NOT NULL FROM outbox.observed_groups`)
	w.write(5)
	want := w.ids()
	if len(want) != 5 {
		t.Fatalf("of 5 messages that are not forwarded %d are left", len(want))
	}
	var before time.Time
	if err := w.pool.QueryRow(t.Context(), `SELECT observed_at FROM outbox.observed_groups`).Scan(&before); err != nil {
		t.Fatal(err)
	}
	w.await(`SELECT observed_at > $1::timestamptz + interval '100 milliseconds' FROM outbox.observed_groups`, before)
	if diff := cmp.Diff(want, w.ids()); diff != "" {
		t.Fatalf("what is not forwarded is pruned (-want +got):\n%s", diff)
	}
	w.setUp(Wish{})
	w.awaitAll()
	if diff := cmp.Diff(want, idsOf(consume(t, w.js))); diff != "" {
		t.Errorf("the new stream (-outbox +got):\n%s", diff)
	}
}

// TestARelayThatMissedMessagesStandsStillAndSaysSo has messages pruned while no relay runs. Standing still costs no further one.
func TestARelayThatMissedMessagesStandsStillAndSaysSo(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 3)
	before := w.ids()
	w.keeper()
	w.write(5)
	watchtest.Eventually(t, patience, "what nobody forwards is pruned", func() bool { return len(w.ids()) == 0 })
	w.relay()
	w.awaitError(ErrMissed)
	if s := w.status(); !strings.Contains(s.Error, "5 messages") || !strings.Contains(s.Error, "atlas relay resume users") {
		t.Errorf("it says %q, want how many are missing and what to do", s.Error)
	}
	w.await(`SELECT abandoned_at IS NULL AND attended_at IS NOT NULL FROM outbox.observed_groups`)
	w.write(4)
	after := w.ids()
	if len(after) != 4 {
		t.Fatalf("of 4 messages that came since %d are left", len(after))
	}
	if n, err := Resume(t.Context(), w.pool, topic); err != nil || n != 5 {
		t.Fatalf("resumed over %d messages, %v; want 5", n, err)
	}
	w.awaitAll()
	if diff := cmp.Diff(append(before, after...), idsOf(consume(t, w.js))); diff != "" {
		t.Errorf("the stream (-want +got):\n%s", diff)
	}
}

// await waits until a query says yes.
func (w *world) await(q string, args ...any) {
	w.t.Helper()
	watchtest.Eventually(w.t, patience, q, func() (yes bool) {
		return w.pool.QueryRow(context.Background(), q, args...).Scan(&yes) == nil && yes
	})
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

// TestATopicThatWasLostAndTakenAgainIsForwarded has a relay hold a topic in a later turn than the one it forwards in, as one
// does that stood still until another had taken the topic and was gone.
func TestATopicThatWasLostAndTakenAgainIsForwarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(5)
	w.relay()
	w.awaitAll()
	w.exec(`UPDATE atlas.relays SET epoch = epoch + 2`)
	w.write(5)
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestATopicWhoseRowIsGoneIsForwardedAgain has the database put back, under a relay at work, to before there was one.
func TestATopicWhoseRowIsGoneIsForwardedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.write(5)
	w.relay()
	w.awaitAll()
	w.exec(`DELETE FROM atlas.relays`)
	w.exec(`DELETE FROM outbox.users_offsets`)
	w.write(5)
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestAConnectionThatIsGivenUpForGoodIsMadeAnew has the server report what nats.go does not know, upon which it closes the
// connection and does not come back.
func TestAConnectionThatIsGivenUpForGoodIsMadeAnew(t *testing.T) {
	t.Parallel()
	between := newBetween(t, natstest.Start(t))
	w := newWorldWith(t, between)
	w.setUp(Wish{})
	w.write(5)
	w.relay()
	w.awaitAll()
	between.say("-ERR 'What Nobody Has Heard Of'\r\n")
	w.write(5)
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestAProcessWithoutNATSLeavesItsTopicsToOthers begins with one that never finds its server.
func TestAProcessWithoutNATSLeavesItsTopicsToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	w.relayTo("nats://127.0.0.1:1")
	if watchtest.Holds(time.Second, func() bool { return w.status().Epoch > 0 }) {
		t.Error("it takes the topic")
	}
	w.relay()
	w.write(5)
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// between passes on what a server and its clients say.
type between struct {
	*natstest.Server
	listener net.Listener

	mu      sync.Mutex
	clients []net.Conn
}

func newBetween(t *testing.T, server *natstest.Server) *between {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	b := &between{Server: server, listener: listener}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go b.pass(client)
		}
	}()
	return b
}

// pass passes on until one of the two hangs up.
func (b *between) pass(client net.Conn) {
	server, err := net.Dial("tcp", strings.TrimPrefix(b.Server.URL(), "nats://"))
	if err != nil {
		_ = client.Close()
		return
	}
	b.mu.Lock()
	b.clients = append(b.clients, client)
	b.mu.Unlock()
	hangUp := func() { _, _ = client.Close(), server.Close() }
	go func() {
		defer hangUp()
		_, _ = io.Copy(server, client)
	}()
	defer hangUp()
	_, _ = io.Copy(client, server)
}

// URL is where clients find the one in between.
func (b *between) URL() string { return "nats://" + b.listener.Addr().String() }

// say tells all clients something in the server's name.
func (b *between) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		_, _ = c.Write([]byte(text)) // one that has gone need not hear it
	}
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
