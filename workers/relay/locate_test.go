package relay

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// forget has the database know only what was recorded when the topic was at an offset, as after a process was killed before
// it wrote down what it had published.
func (w *world) forget(offset int64) {
	w.t.Helper()
	w.exec(`UPDATE atlas.relays SET "offset" = $1, sequence = $1`, offset)
}

func (w *world) exec(q string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(context.Background(), q, args...); err != nil {
		w.t.Fatal(err)
	}
}

// stream is the topic's as it is now.
func (w *world) stream() jetstream.Stream { return natstest.Stream(w.t, w.js, users.stream()) }

// forwarded is a world in which n messages were forwarded by a relay that has ended. The broker's memory of ids is over.
func forwarded(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t)
	w.setUp(shortWindow())
	w.write(n)
	stop := w.relay()
	w.awaitAll()
	stop()
	return w
}

// goOn runs a relay until all is forwarded, twenty messages more than there were.
func (w *world) goOn() {
	w.t.Helper()
	w.write(20)
	stop := w.relay()
	w.awaitAll()
	stop()
}

// crowd is how many messages at least are asked for at once.
const crowd = 32

// crowded is a stream that answers nobody before a crowd has asked.
type crowded struct {
	jetstream.Stream
	asking atomic.Int64
	enough chan struct{}
}

func (c *crowded) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if c.asking.Add(1) == crowd {
		close(c.enough)
	}
	select {
	case <-c.enough:
		return c.Stream.GetMsg(ctx, sequence, o...)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// One after the other, each would be a way to the broker and back, while nothing is forwarded.
func TestWhatAStreamGotIsAskedForManyAtOnce(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 3*crowd)
	got, gone, err := idsBetween(t.Context(), &crowded{Stream: w.stream(), enough: make(chan struct{})}, crowd, 3*crowd)
	if err != nil || gone != 0 {
		t.Fatalf("%d are gone, %v", gone, err)
	}
	if diff := cmp.Diff(w.ids()[crowd:], got); diff != "" {
		t.Errorf("behind a place (-outbox +got):\n%s", diff)
	}
}

// TestWhatAStreamGotSinceLongAgoIsFoundBitByBit is a database that was set back by more than one look at the stream brings: what
// it has still to forward is known, and of all else, which may be millions, no more is kept than may come again.
func TestWhatAStreamGotSinceLongAgoIsFoundBitByBit(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 2*stretch+100)
	for _, sequence := range []uint64{90, stretch + 10, 2*stretch + 90} { // one before the place, and two behind it
		if err := w.stream().DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	w.forget(100)
	w.goOn()
	w.wantCounted(2*stretch + 100 + 20 - 3)

	s := start{there: map[string]bool{}}
	ids := make([]string, kept+10)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	s.got(ids, map[string]int64{ids[7]: 3, ids[kept+5]: 4})
	if len(s.there) != kept+1 || !s.there[ids[kept+5]] || s.upto != 4 {
		t.Errorf("%d ids are kept, up to offset %d; want those of the outbox and the first %d, up to 4", len(s.there), s.upto, kept)
	}
}

func TestWhatWasNotWrittenDownIsFoundInTheStream(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 300)
	w.forget(100)
	w.goOn()
	w.wantEachOnceInOrder()
}

// TestWhatConsumersTookOutOfTheStreamIsStillCounted is a stream whose end is gone, as one is that drops what is consumed.
func TestWhatConsumersTookOutOfTheStreamIsStillCounted(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string][]uint64{"the end": {299, 300}, "the middle": {250, 298, 300}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := forwarded(t, 300)
			for _, sequence := range gone {
				if err := w.stream().DeleteMsg(t.Context(), sequence); err != nil {
					t.Fatal(err)
				}
			}
			w.forget(100)
			w.goOn()
			w.wantCounted(320 - len(gone))
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		w := forwarded(t, 300)
		if err := w.stream().Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.forget(100)
		w.goOn()
		w.wantCounted(20)
	})
}

// wantCounted holds that so many messages are in the stream, none twice, the last of which is the outbox's.
func (w *world) wantCounted(n int) {
	w.t.Helper()
	got, want := idsOf(consume(w.t, w.js)), w.ids()
	seen := map[string]bool{}
	for _, id := range got {
		seen[id] = true
	}
	if len(got) != n || len(seen) != n || got[n-1] != want[len(want)-1] {
		w.t.Errorf("the stream holds %d messages, %d different ones; want %d, and the outbox's last", len(got), len(seen), n)
	}
}

// TestABrokerThatForgetsIsToldAgain is a broker that lost the end of what it had acknowledged, as one may whose machine lost
// power: it is told again, and not what it still knows.
func TestABrokerThatForgetsIsToldAgain(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 300)
	w.exec(`UPDATE atlas.relays SET sequence = sequence + 50`) // the stream ended fifty further
	w.exec(`INSERT INTO outbox.users (uuid, payload, metadata, transaction_id)
		SELECT gen_random_uuid(), '{}', '{}', pg_current_xact_id() FROM generate_series(1, 50)`)
	w.exec(`UPDATE atlas.relays SET "offset" = (SELECT max("offset") FROM outbox.users)`)
	w.goOn()
	w.wantEachOnceInOrder()
}

// TestARestoredDatabaseDoublesNothing is a database that was set back: messages are forwarded of which it knows nothing any
// more, and others of which it does not know that they are.
func TestARestoredDatabaseDoublesNothing(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 300)
	before := w.ids()
	w.exec(`DELETE FROM outbox.users WHERE "offset" > 200`)
	w.forget(100)
	w.goOn()
	got := idsOf(consume(t, w.js))
	after := w.ids()
	if len(got) != 320 || got[299] != before[299] || got[300] != after[200] || got[319] != after[219] {
		t.Errorf("the stream holds %d messages, want the 300 and then the 20 new ones", len(got))
	}
}

// TestWhatOthersWriteToTheStreamIsLeftAlone has somebody publish to the relay's subjects, which nobody should: that may cost
// the order, and costs no message and doubles none.
func TestWhatOthersWriteToTheStreamIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 10)
	intrude := func(n int) {
		for i := range n {
			m := &nats.Msg{Subject: "atlas.users.intruder", Data: []byte(strconv.Itoa(i))}
			if _, err := w.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	intrude(5)
	w.goOn()
	stop := w.relay()
	for range 20 {
		w.write(50)
		intrude(1)
	}
	w.awaitAll()
	stop()
	intrude(3)
	w.exec(`UPDATE atlas.relays SET "offset" = 5, sequence = 5`)
	w.goOn()
	var ours []string
	for _, id := range idsOf(consume(t, w.js)) {
		if id != "" {
			ours = append(ours, id)
		}
	}
	want := w.ids()
	slices.Sort(ours)
	slices.Sort(want)
	if diff := cmp.Diff(want, ours); diff != "" {
		t.Errorf("the stream has not each message once (-outbox +got):\n%s", diff)
	}
}

// TestAReplayedOutboxForwardsWhatItWroteAnew has rows pruned and written again with the same ids: within the broker's window
// it has them once, and what comes between and behind is not lost.
func TestAReplayedOutboxForwardsWhatItWroteAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{}) // with a window of minutes
	w.write(10)
	w.relay()
	w.awaitAll()
	want := w.ids()
	const again = `
		WITH gone AS (DELETE FROM outbox.users WHERE "offset" <= 4 RETURNING uuid, payload, metadata)
		INSERT INTO outbox.users (uuid, payload, metadata, transaction_id)
		SELECT uuid, payload, metadata, pg_current_xact_id() FROM gone`
	w.exec(again)
	w.write(10)
	w.awaitAll()
	all := w.ids()
	got := idsOf(consume(t, w.js))
	if want = append(want, all[10:]...); len(got) != len(want) {
		t.Fatalf("the stream holds %d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("message %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// TestWhatAZombieHasInHandIsRefused has a forwarder go on from where it was before another one went further, as a process does
// that was stopped for a while, and whose lease nothing keeps it from using.
func TestWhatAZombieHasInHandIsRefused(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 100)
	stale, err := desk{pool: w.pool, topic: topic}.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.goOn()
	zombie := &forwarder{names: users, desk: desk{pool: w.pool, topic: topic, epoch: 1}, at: stale, count: func(string, int) {}}
	if err := zombie.pump(t.Context(), w.js, start{place: stale, last: stale.sequence}); !errors.Is(err, errMoved) {
		t.Errorf("got %v, want that the stream has moved", err)
	}
	if err := zombie.desk.record(t.Context(), stale); !errors.Is(err, errLost) {
		t.Errorf("recording an old place: got %v, want a refusal", err)
	}
	w.wantEachOnceInOrder()
}

// TestAPlaceIsRecordedInItsTurnAlone has one process hold a topic for the seventh time: what it says of an earlier turn counts
// no more than what another process says.
func TestAPlaceIsRecordedInItsTurnAlone(t *testing.T) {
	t.Parallel()
	w := forwarded(t, 10)
	err := engine.Present(t.Context(), w.pool, func(holder *engine.Presence) error {
		if err := holder.Renew(t.Context()); err != nil {
			return err
		}
		w.exec(`UPDATE atlas.relays SET holder = $1, epoch = 7`, holder.ID())
		place, err := desk{pool: w.pool, topic: topic}.load(t.Context())
		if err != nil {
			return err
		}
		for d, want := range map[desk]error{
			{w.pool, topic, holder.ID(), 6}: errLost, {w.pool, topic, holder.ID(), 7}: nil, {w.pool, topic, uuid.New(), 7}: errLost,
		} {
			if err := d.record(t.Context(), place); !errors.Is(err, want) {
				t.Errorf("epoch %d, held by it %t: got %v, want %v", d.epoch, d.holder == holder.ID(), err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
