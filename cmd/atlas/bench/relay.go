package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/measure"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers/outbox"
	"github.com/atlas-platform/atlas/workers/relay"
)

// relayTopic forwards a backlog of a topic.
var relayTopic = Case{
	Name:    "relay",
	About:   "forward a backlog of the outbox to NATS JetStream, beside a loop that publishes the same rows and waits for no acknowledgement but the last (needs ATLAS_NATS_URL)",
	Clients: []int{1},
	Open:    openRelay,
}

// relayRate is about how many messages are forwarded in a second: it makes a backlog of a sample's length.
const relayRate = 20_000

// relaying is an outbox with a relay at work on it, and streams for both sides.
type relaying struct {
	pool    *pgxpool.Pool
	js      jetstream.JetStream
	prefix  string
	topic   string
	backlog int64
	written int64 // rows
}

func openRelay(ctx context.Context, s Setting) (c Contest, err error) {
	if s.NATS == "" {
		return c, errors.New("name a NATS server with JetStream, such as `nats-server -js` starts, by ATLAS_NATS_URL: it gets two streams, which are dropped in the end")
	}
	if s.Clients != 1 {
		return c, errors.New("one relay forwards a topic: measure it with one client")
	}
	quiet := slog.New(slog.DiscardHandler)
	url, err := s.Room.Database(ctx, eventstore.Migrations(), engine.Migrations(), outbox.Migrations(), relay.Migrations())
	if err != nil {
		return c, err
	}
	r := &relaying{prefix: "bench-" + uuid.NewString(), topic: outbox.Documents, backlog: max(int64(s.Length.Seconds()*relayRate), 100)}
	if r.pool, err = postgres.Connect(ctx, url); err != nil {
		return c, err
	}
	js, closed, err := relay.Dial(s.NATS, quiet)
	if err != nil {
		r.pool.Close()
		return c, err
	}
	r.js = js
	running, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	done := func() {
		end()
		<-ended
		left, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = js.DeleteStream(left, r.stream()) // which may not have been made
		_ = js.DeleteStream(left, r.bareStream())
		closed()
		r.pool.Close()
	}
	go func() {
		defer close(ended)
		_ = relay.New(r.pool, relay.Config{URL: s.NATS, Prefix: r.prefix, Topics: []string{r.topic}}, quiet, func(string, int) {}).Run(running)
	}()
	if err := r.makeStreams(ctx); err != nil {
		done()
		return c, err
	}
	return Contest{Close: done, Contest: measure.Contest{
		Unit: "messages/s", Memory: true,
		Atlas: measure.Side{Sample: r.forward, Done: r.there(r.stream())},
		Bare:  measure.Side{Sample: r.publish, Done: r.there(r.bareStream())},
	}}, nil
}

func (r *relaying) stream() string { return r.prefix + "-" + r.topic }

func (r *relaying) bareStream() string { return r.prefix + "-bare" }

// makeStreams makes the relay's as it makes it, and the bare one likewise.
func (r *relaying) makeStreams(ctx context.Context) error {
	if _, err := relay.Setup(ctx, r.js, r.prefix, r.topic, relay.Wish{}); err != nil {
		return err
	}
	made, err := r.js.Stream(ctx, r.stream())
	if err != nil {
		return err
	}
	like := made.CachedInfo().Config
	like.Name, like.Subjects = r.bareStream(), []string{r.prefix + ".bare.>"}
	_, err = r.js.CreateStream(ctx, like)
	return err
}

// there counts what a stream holds.
func (r *relaying) there(name string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		s, err := r.js.Stream(ctx, name)
		if err != nil {
			return 0, err
		}
		return int64(s.CachedInfo().State.Msgs), nil
	}
}

// forward writes a backlog at once, and takes the time from its commit until the stream has all of it.
func (r *relaying) forward(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
	if err := r.write(ctx); err != nil {
		return nil, err
	}
	s := &measure.Sample{Units: r.backlog}
	started := time.Now()
	for there := r.there(r.stream()); ; {
		n, err := there(ctx)
		if err != nil {
			return nil, err
		}
		if n >= r.written {
			break
		}
		if time.Since(started) > 10*time.Minute {
			return nil, fmt.Errorf("%d of %d messages were forwarded", n, r.written)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.Took = time.Since(started)
	s.Latencies.Add(s.Took)
	return s, nil
}

// write fills the topic with messages like those of a document's revision.
func (r *relaying) write(ctx context.Context) error {
	const q = `
		INSERT INTO outbox.documents (uuid, payload, metadata, transaction_id)
		SELECT gen_random_uuid(), json_build_object('document_id', gen_random_uuid(), 'owner_id', gen_random_uuid(), 'version', n, 'at', now()),
			json_build_object('contract', 'document.revised.v1', 'event_id', gen_random_uuid(), 'stream', 'document-' || gen_random_uuid(),
				'stream_version', n::text, 'position', n::text, 'occurred_at', now()::text, 'correlation_id', gen_random_uuid()),
			pg_current_xact_id()
		FROM generate_series(1, $1::bigint) AS n`
	if _, err := r.pool.Exec(ctx, q, r.backlog); err != nil {
		return err
	}
	r.written += r.backlog
	return nil
}

// publish is the least that has the broker store a backlog: one scan, and a message for each row, whose acknowledgements are
// awaited when the last is on its way. It publishes what the relay's last sample wrote.
func (r *relaying) publish(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
	const q = `SELECT uuid, payload, metadata FROM (
		SELECT "offset", uuid, payload, metadata FROM outbox.documents ORDER BY "offset" DESC LIMIT $1) AS m ORDER BY "offset"`
	s := &measure.Sample{Units: r.backlog}
	started := time.Now()
	rows, err := r.pool.Query(ctx, q, r.backlog)
	if err != nil {
		return nil, err
	}
	var id string
	var payload, metadata []byte
	sample := uuid.NewString() // ids of their own, since the same rows may be published again
	_, err = pgx.ForEachRow(rows, []any{&id, &payload, &metadata}, func() error {
		m := &nats.Msg{Subject: r.prefix + ".bare.document", Data: append([]byte(nil), payload...), Header: nats.Header{
			jetstream.MsgIDHeader: {sample + id}, "metadata": {strings.ReplaceAll(string(metadata), "\n", " ")},
		}}
		_, err := r.js.PublishMsgAsync(m, jetstream.WithStallWait(10*time.Second))
		return err
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-r.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		return nil, errors.New("not all messages were acknowledged")
	}
	s.Took = time.Since(started)
	s.Latencies.Add(s.Took)
	return s, nil
}
