package watermillsql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/eventstore/watermillsql"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that ought to happen soon.
const patience = time.Minute

func newLog(t *testing.T) *logtest.Log {
	t.Helper()
	return logtest.New(t, subscription.Migrations(), watermillsql.Migrations())
}

// reader is a plain subscriber of watermill-sql.
type reader struct {
	t         *testing.T
	messages  <-chan *message.Message
	subscribe *wsql.Subscriber
}

// read subscribes a group to a topic, with all of watermill-sql as it is but its pauses.
func read(t *testing.T, l *logtest.Log, group, topic string, schema watermillsql.Schema) *reader {
	t.Helper()
	deadline := patience
	s, err := wsql.NewSubscriber(stdlib.OpenDBFromPool(l.Pool), wsql.SubscriberConfig{
		ConsumerGroup: group, SchemaAdapter: schema, OffsetsAdapter: watermillsql.Offsets{},
		AckDeadline: &deadline, PollInterval: 5 * time.Millisecond, ResendInterval: time.Millisecond, RetryInterval: 5 * time.Millisecond,
	}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Subscribe(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t, got, s}
	t.Cleanup(r.close)
	return r
}

// close ends the subscription; what is in hand is not acked.
func (r *reader) close() {
	if err := r.subscribe.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *reader) next() *message.Message {
	r.t.Helper()
	select {
	case m, open := <-r.messages:
		if !open {
			r.t.Fatal("the subscription has ended")
		}
		return m
	case <-time.After(patience):
		r.t.Fatal("no message came")
	}
	return nil
}

func newStream(category string) eventstore.Stream {
	return eventstore.NewStream(category, uuid.Must(uuid.NewV7()))
}

func mustAppend(t *testing.T, l *logtest.Log, stream eventstore.Stream, facts ...events.Event) eventstore.Outcome {
	t.Helper()
	o, err := l.Store.Append(t.Context(), eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: facts})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var errRolledBack = errors.New("rolled back")

// write appends to streams of its own, again and again, in transactions that stay open for a moment; some of them are
// rolled back, and leave positions that hold nothing.
func write(t *testing.T, l *logtest.Log, seed uint64, rounds int) {
	random := rand.New(rand.NewPCG(seed, seed))
	streams := []eventstore.Stream{newStream("document"), newStream("document"), newStream("session")}
	for range rounds {
		stream := streams[random.IntN(len(streams))]
		err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
				return err // an id that is drawn early makes the order of ids another than that of positions
			}
			w := eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}}}
			if _, err := l.Store.AppendTx(t.Context(), tx, w); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), `SELECT pg_sleep($1)`, float64(random.IntN(6))/1000); err != nil {
				return err
			}
			if random.IntN(4) == 0 {
				return errRolledBack
			}
			return nil
		})
		if err != nil && !errors.Is(err, errRolledBack) {
			t.Error(err)
			return
		}
	}
}

// TestPlainSubscribersSkipNothing reads from the first event on while eight writers append, some of whose transactions commit
// late or never.
func TestPlainSubscribersSkipNothing(t *testing.T) {
	t.Parallel()
	const writers, rounds = 8, 60
	l := newLog(t)
	types := eventstore.Filter{Types: []string{"document.archived", "document.deleted"}}
	one := read(t, l, "one", "document", watermillsql.Schema{BatchSize: 7})
	typed := read(t, l, "typed", "any", watermillsql.Schema{Filter: func(string) eventstore.Filter { return types }})
	byCategory, byType := make(chan []*message.Message, 1), make(chan []*message.Message, 1)
	go untilDeleted(one, byCategory)
	go untilDeleted(typed, byType)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() { write(t, l, uint64(w), rounds) })
	}
	writing.Wait()
	mustAppend(t, l, newStream("document"), events.DocumentDeleted{})
	wantSame(t, l, receive(t, byCategory), eventstore.Filter{Categories: []string{"document"}})
	wantSame(t, l, receive(t, byType), types)
}

// untilDeleted acks what comes, up to the message of a deletion.
func untilDeleted(r *reader, all chan<- []*message.Message) {
	var got []*message.Message
	for m := range r.messages {
		m.Ack()
		if got = append(got, m); m.Metadata.Get(subscription.MetaType) == "document.deleted" {
			all <- got
		}
	}
}

// wantSame holds messages against the log: each event that is chosen once, in order.
func wantSame(t *testing.T, l *logtest.Log, got []*message.Message, f eventstore.Filter) {
	t.Helper()
	horizon, err := l.Store.Horizon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want, came []string
	for after := int64(0); after < horizon; {
		b, err := l.Store.ReadAll(t.Context(), after, horizon, f, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			want = append(want, strconv.FormatInt(e.Position, 10))
		}
		after = b.Upto
	}
	for _, m := range got {
		came = append(came, m.Metadata.Get(subscription.MetaPosition))
	}
	if diff := cmp.Diff(want, came); diff != "" {
		t.Errorf("positions (-log +messages):\n%s", diff)
	}
}

// TestAnAppendThatCommitsLateIsWaitedFor draws a position and commits after a higher one: neither comes before it does,
// then both in order. The same schedule against a reader without the horizon must be noticed.
func TestAnAppendThatCommitsLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	late := func(t *testing.T, l *logtest.Log) (positions []string) {
		got := ackAll(read(t, l, "reader", "document", watermillsql.Schema{}))
		mustAppend(t, l, newStream("document"), events.DocumentArchived{})
		receive(t, got)
		tx, err := l.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.Background()) }()
		w := eventstore.Write{Stream: newStream("document"), Events: []events.Event{events.DocumentArchived{}}}
		if _, err := l.Store.AppendTx(t.Context(), tx, w); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, newStream("document"), events.DocumentArchived{})
		polledTwice(t, l)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, newStream("document"), events.DocumentArchived{})
		for len(positions) == 0 || positions[len(positions)-1] != "4" {
			positions = append(positions, receive(t, got))
		}
		return positions
	}
	if diff := cmp.Diff([]string{"2", "3", "4"}, late(t, newLog(t))); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
	broken := newLog(t)
	mutate(t, broken, "horizon := atlas.horizon();", "SELECT coalesce(max(position), 0) INTO horizon FROM atlas.events;")
	if got := late(t, broken); len(got) == 3 {
		t.Errorf("a reader without the horizon gets %v: this test notices nothing", got)
	}
}

// ackAll acks what comes, and returns the positions.
func ackAll(r *reader) <-chan string {
	positions := make(chan string, 100)
	go func() {
		for m := range r.messages {
			m.Ack()
			positions <- m.Metadata.Get(subscription.MetaPosition)
		}
	}()
	return positions
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// mutate changes a line of the function that reads.
func mutate(t *testing.T, l *logtest.Log, line, into string) {
	t.Helper()
	const q = `SELECT replace(pg_get_functiondef('atlas.read_topic'::regproc), $1, $2), strpos(pg_get_functiondef('atlas.read_topic'::regproc), $1) > 0`
	var changed string
	var found bool
	if err := l.Pool.QueryRow(t.Context(), q, line, into).Scan(&changed, &found); err != nil || !found {
		t.Fatalf("%q is not in the function: %v", line, err)
	}
	if _, err := l.Pool.Exec(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
}

// polledTwice waits until the reader has polled and begun again, so that it has seen what was there.
func polledTwice(t *testing.T, l *logtest.Log) {
	t.Helper()
	polls := make(chan struct{})
	var once sync.Mutex
	n := 0
	l.Trace(func(_ context.Context, sql string) {
		once.Lock()
		defer once.Unlock()
		if len(sql) > 6 && sql[:6] == "SELECT" && n < 3 {
			if n++; n == 3 {
				close(polls)
			}
		}
	})
	select {
	case <-polls:
	case <-time.After(patience):
		t.Fatal("the reader does not poll")
	}
	l.Trace(func(context.Context, string) {})
}

func TestAMessageIsTheOneThatASubscriptionGives(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{
		CorrelationID: uuid.Must(uuid.NewV7()), CausationID: uuid.Must(uuid.NewV7()), Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	})
	stream := newStream("document")
	document := events.DocumentCreated{OwnerID: uuid.Must(uuid.NewV7()), Title: "canary", Body: "canary", ContentType: "text/markdown"}
	if _, err := l.Store.Append(ctx, eventstore.Write{Stream: stream, Events: []events.Event{document}}); err != nil {
		t.Fatal(err)
	}
	publisher := subscription.NewPublisher(l.Store)
	for _, payload := range []string{`{"a": 1}`, "\x00 not JSON"} {
		published := message.NewMessage(watermill.NewUUID(), message.Payload(payload))
		published.Metadata = message.Metadata{"mine": "yes", "type": "set"}
		if err := publisher.Publish("document", published); err != nil {
			t.Fatal(err)
		}
	}
	other, err := subscription.NewSubscriber(subscription.New(l.Pool, l.Store, l.Tail, slog.New(slog.DiscardHandler)),
		subscription.SubscriberConfig{Group: "other", Options: subscription.Options{Concurrency: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	want, err := other.Subscribe(t.Context(), "document")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]map[string]any{}
	for range 3 {
		m := (&reader{t, want, nil}).next()
		wanted[m.UUID] = told(t, m)
		m.Ack()
	}
	r := read(t, l, "plain", "document", watermillsql.Schema{})
	for range 3 {
		m := r.next()
		if diff := cmp.Diff(wanted[m.UUID], told(t, m)); diff != "" {
			t.Errorf("message %s (-subscription +plain):\n%s", m.UUID, diff)
		}
		m.Ack()
	}
}

// told is what a message says; a payload that is JSON by its value, and times by theirs.
func told(t *testing.T, m *message.Message) map[string]any {
	t.Helper()
	var payload any = string(m.Payload)
	if json.Valid(m.Payload) {
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]any{"payload": payload}
	for key, value := range m.Metadata {
		all[key] = value
	}
	at, err := time.Parse(time.RFC3339Nano, m.Metadata.Get(subscription.MetaOccurredAt))
	if err != nil {
		t.Error(err)
	}
	all[subscription.MetaOccurredAt] = at
	return all
}

// TestNobodyElsesTransactionDelaysAGroup holds open what stops stock subscribers, and another group's handler.
func TestNobodyElsesTransactionDelaysAGroup(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, newStream("document"), events.DocumentArchived{})
	inHand := read(t, l, "slow", "document", watermillsql.Schema{}).next()
	own, ok := wsql.TxFromContext(inHand.Context())
	if !ok {
		t.Fatal("a message has no transaction")
	}
	if id := transactionOf(t, own); id.Valid {
		t.Errorf("the transaction of a handler that writes nothing has the id %s", id.String)
	}
	mustAppend(t, l, newStream("document"), events.DocumentArchived{})
	quick := read(t, l, "quick", "document", watermillsql.Schema{})
	for range 2 {
		quick.next().Ack()
	}
	inHand.Ack()
}

func transactionOf(t *testing.T, tx *sql.Tx) (id sql.NullString) {
	t.Helper()
	if err := tx.QueryRowContext(t.Context(), `SELECT pg_current_xact_id_if_assigned()::text`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestReadersTellHowFarGroupsHaveCome has one group ack all there is, and another nothing.
func TestReadersTellHowFarGroupsHaveCome(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for range 2 {
		mustAppend(t, l, newStream("document"), events.DocumentArchived{})
	}
	read(t, l, "behind", "document", watermillsql.Schema{})
	acked := ackAll(read(t, l, "ahead", "document", watermillsql.Schema{}))
	receive(t, acked)
	receive(t, acked)
	watchtest.Eventually(t, patience, "the places of both groups", func() bool {
		all, err := watermillsql.Readers(t.Context(), l.Pool)
		if err != nil {
			t.Fatal(err)
		}
		return len(all) == 2 && all[0].Group == "ahead" && all[0].Topic == "document" && all[0].Position == 2 &&
			all[1].Group == "behind" && all[1].Position == 0 && !all[0].MovedAt.Before(all[1].MovedAt)
	})
}

// TestANackHoldsUpAllOfTheGroup shows the limits that doc.go names: one message in hand over all streams and subscribers,
// and a nack that comes again and again.
func TestANackHoldsUpAllOfTheGroup(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for range 3 {
		mustAppend(t, l, newStream("document"), events.DocumentArchived{})
	}
	first := read(t, l, "group", "document", watermillsql.Schema{})
	m := first.next()
	standby := read(t, l, "group", "document", watermillsql.Schema{})
	for range 20 {
		id := m.UUID
		m.Nack()
		if m = first.next(); m.UUID != id {
			t.Fatalf("after a nack %s came, want %s again", m.UUID, id)
		}
		select { // the channel has no room, so its length would tell nothing
		case <-standby.messages:
			t.Fatal("the other subscriber of the group got a message")
		default:
		}
	}
	// What the first has not acked when it ends comes to the other, from the start of the batch.
	m.Ack()
	second := first.next()
	first.close()
	if again := standby.next(); again.UUID != m.UUID && again.UUID != second.UUID {
		t.Errorf("the other subscriber got %s, want %s or %s", again.UUID, m.UUID, second.UUID)
	}
}

// TestARareTopicMovesOn reads a topic of two events with ten thousand others between them, and restarts the group.
func TestARareTopicMovesOn(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	many := make([]events.Event, 1000)
	for i := range many {
		many[i] = events.DocumentArchived{}
	}
	fill := func() {
		for range 5 {
			mustAppend(t, l, newStream("document"), many...)
		}
	}
	fill()
	mustAppend(t, l, newStream("session"), events.DocumentArchived{})
	fill()
	r := read(t, l, "rare", "session", watermillsql.Schema{})
	r.next().Ack()
	var place int64
	watchtest.Eventually(t, patience, "the group stands at the end of the log", func() bool {
		const q = `SELECT position FROM atlas.log_readers WHERE topic = 'session' AND consumer_group = 'rare'`
		return l.Pool.QueryRow(t.Context(), q).Scan(&place) == nil && place >= 10_000
	})
	mustAppend(t, l, newStream("session"), events.DocumentArchived{})
	r.next().Ack()
}

func TestADetachedPartIsNotSkipped(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	mustAppend(t, l, newStream("document"), events.DocumentArchived{})
	if _, err := l.Pool.Exec(t.Context(), `INSERT INTO atlas.detached_parts (part, first_position, last_position) VALUES (0, 0, 1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Pool.Exec(t.Context(), `INSERT INTO atlas.log_readers (topic, consumer_group) VALUES ('document', 'reader')`); err != nil {
		t.Fatal(err)
	}
	q := watermillsql.Schema{}.SelectQuery("document", "reader", watermillsql.Offsets{})
	if _, err := l.Pool.Exec(t.Context(), q.Query, q.Args...); !errors.Is(eventstore.Detached(err), eventstore.ErrDetached) {
		t.Errorf("got %v, want %v", err, eventstore.ErrDetached)
	}
}

func TestTheLogIsNotPublishedTo(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p, err := wsql.NewPublisher(stdlib.OpenDBFromPool(l.Pool), wsql.PublisherConfig{SchemaAdapter: watermillsql.Schema{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish("document", message.NewMessage("x", nil)); err == nil {
		t.Error("published")
	}
}
