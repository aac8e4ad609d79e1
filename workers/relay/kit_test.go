package relay

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers/outbox"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(victimDatabase); url != "" {
		runVictim(url, os.Getenv(victimBroker))
	}
	pgtest.Main(m)
}

// patience bounds waits for what must come, on a machine that does much else.
const patience = 90 * time.Second

const topic = outbox.Users

var users = names{"atlas", topic}

// world is an outbox and a broker.
type world struct {
	t      *testing.T
	url    string // of the database
	pool   *pgxpool.Pool
	broker broker
	js     jetstream.JetStream
	made   int
}

// broker is a server or a cluster of them.
type broker interface {
	URL() string
	JetStream() jetstream.JetStream
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, natstest.Start(t))
}

func newWorldWith(t *testing.T, b broker) *world {
	t.Helper()
	w := &world{t: t, broker: b}
	w.url = pgtest.NewDatabase(t, eventstore.Migrations(), engine.Migrations(), outbox.Migrations(), Migrations())
	var err error
	if w.pool, err = postgres.Connect(context.Background(), w.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pool.Close)
	w.js = w.broker.JetStream()
	return w
}

// setUp makes the stream.
func (w *world) setUp(wish Wish) {
	w.t.Helper()
	if _, err := Setup(context.Background(), w.js, users.prefix, topic, wish); err != nil {
		w.t.Fatal(err)
	}
}

// shortWindow is a stream that knows ids for a moment only, so that the broker's own memory of them excuses nothing.
func shortWindow() Wish {
	short := 100 * time.Millisecond
	return Wish{Duplicates: &short}
}

// write puts n messages of three streams into the topic, as the outbox does.
func (w *world) write(n int) {
	w.t.Helper()
	if err := w.tryWrite(n); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryWrite(n int) error {
	const q = `
		INSERT INTO outbox.users (uuid, payload, metadata, transaction_id)
		SELECT m.uuid, m.payload::json, m.metadata::json, pg_current_xact_id()
		FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS m (uuid, payload, metadata, ordinal)
		ORDER BY m.ordinal`
	ids, payloads, metadata := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		w.made++
		ids[i] = uuid.NewString()
		payloads[i] = fmt.Sprintf(`{"n": %d}`, w.made)
		metadata[i] = fmt.Sprintf(`{"contract":"user.registered.v1","stream":"user-%d","stream_version":"%d"}`, w.made%3, w.made)
	}
	_, err := w.pool.Exec(context.Background(), q, ids, payloads, metadata)
	return err
}

// relay runs a relay in this process until the function that it returns is called, or the test ends.
func (w *world) relay() (stop func()) {
	w.t.Helper()
	return w.relayTo(w.broker.URL())
}

// relayTo runs a relay to the broker of a URL.
func (w *world) relayTo(url string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	r := New(w.pool, Config{URL: url, Prefix: users.prefix, Topics: []string{topic}}, log, func(string, int) {})
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// status is how the topic stands.
func (w *world) status() Status {
	w.t.Helper()
	all, err := List(context.Background(), w.pool, []string{topic})
	if err != nil {
		w.t.Fatal(err)
	}
	return all[0]
}

// awaitAll waits until the topic is forwarded as far as it was written.
func (w *world) awaitAll() {
	w.t.Helper()
	watchtest.Eventually(w.t, patience, "everything is forwarded", func() bool { return w.status().Lag == 0 })
}

// awaitError waits until the relay says that it stands still, and why.
func (w *world) awaitError(want error) {
	w.t.Helper()
	watchtest.Eventually(w.t, patience, want.Error(), func() bool { return strings.Contains(w.status().Error, want.Error()) })
}

// ids are those of the topic's messages in order.
func (w *world) ids() []string {
	w.t.Helper()
	rows, err := w.pool.Query(context.Background(), `SELECT uuid FROM outbox.users ORDER BY "offset"`)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// wantEachOnceInOrder holds what a consumer of the stream gets against the outbox.
func (w *world) wantEachOnceInOrder() {
	w.t.Helper()
	w.wantSame(idsOf(consume(w.t, w.js)))
}

// wantSame holds ids against those of the outbox.
func (w *world) wantSame(got []string) {
	w.t.Helper()
	if diff := cmp.Diff(w.ids(), got); diff != "" {
		w.t.Errorf("the consumer did not get each message once and in order (-outbox +got):\n%s", diff)
	}
}

// consume returns what an ordered consumer gets of the stream as it is now.
func consume(t *testing.T, js jetstream.JetStream) (got []jetstream.Msg) {
	t.Helper()
	stream := natstest.Stream(t, js, users.stream())
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for there := int(stream.CachedInfo().State.Msgs); len(got) < there; {
		batch, err := consumer.Fetch(min(1000, there-len(got)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			got = append(got, m)
		}
		if err := batch.Error(); err != nil && ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	return got
}

func idsOf(all []jetstream.Msg) (ids []string) {
	for _, m := range all {
		ids = append(ids, m.Headers().Get(jetstream.MsgIDHeader))
	}
	return ids
}
