package outbox

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/logtest"
)

// subscribe returns the topic's messages as one subscriber of a group gets them.
func subscribe(t *testing.T, l *logtest.Log, group, topic string) <-chan *message.Message {
	t.Helper()
	db := stdlib.OpenDBFromPool(l.Pool)
	s, err := NewSubscriber(db, group, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, s, topic)
}

func listen(t *testing.T, s message.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	got, err := s.Subscribe(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return got
}

func next(t *testing.T, from <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message came")
		return nil
	}
}

// publishSome puts n messages into the topic of documents.
func publishSome(t *testing.T, l *logtest.Log, n int) {
	t.Helper()
	p := Projection()
	var last int64
	for range n {
		last = mustAppend(t, l.Store, newStream("document"), events.DocumentArchived{})
	}
	wait(t, start(t, l, p), last, p)
}

func TestASubscriberGetsAllMessagesInOrder(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 12)
	got := subscribe(t, l, "reader", Documents)
	for _, want := range messages(t, l.Pool, Documents) {
		m := next(t, got)
		if m.UUID != want.UUID || m.Metadata[MetaPosition] != want.Metadata[MetaPosition] {
			t.Fatalf("got message %s, want %s", m.UUID, want.UUID)
		}
		m.Ack()
	}
}

func TestSubscribersOfAGroupShareItsMessages(t *testing.T) {
	t.Parallel()
	const n = 40
	l := newLog(t, Projection())
	publishSome(t, l, n)
	a, b := subscribe(t, l, "shared", Documents), subscribe(t, l, "shared", Documents)
	seen := map[string]int{}
	for range n {
		var m *message.Message
		select {
		case m = <-a:
		case m = <-b:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d messages came", len(seen), n)
		}
		seen[m.UUID]++
		m.Ack()
	}
	if len(seen) != n {
		t.Errorf("%d different messages came among %d", len(seen), n)
	}
}

// TestATransactionElsewhereDelaysNoSubscriber holds open what stops watermill-sql's stock subscribers: a transaction
// that has written.
func TestATransactionElsewhereDelaysNoSubscriber(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	tx, err := l.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	publishSome(t, l, 1)
	next(t, subscribe(t, l, "reader", Documents)).Ack()
}

func TestIdlePollsWriteNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 1)
	got := subscribe(t, l, "reader", Documents)
	next(t, got).Ack()
	s := newSchema()
	q := s.SelectQuery(Documents, "reader", newOffsets())
	for {
		tx, err := l.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var rows int
		var xid *string
		count := `SELECT count(*) FROM (` + q.Query + `) AS m`
		if err := tx.QueryRow(t.Context(), count, q.Args...).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(t.Context(), `SELECT pg_current_xact_id_if_assigned()::text`).Scan(&xid); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		var acked bool
		if err := l.Pool.QueryRow(t.Context(), `SELECT offset_acked > 0 FROM outbox.documents_offsets`).Scan(&acked); err != nil {
			t.Fatal(err)
		}
		if rows == 0 && acked {
			if xid != nil {
				t.Errorf("a poll that found nothing took transaction id %s", *xid)
			}
			return
		}
	}
}

func TestStockSubscribersCanReadATopic(t *testing.T) {
	t.Parallel()
	l := newLog(t, Projection())
	publishSome(t, l, 3)
	s, err := wsql.NewSubscriber(stdlib.OpenDBFromPool(l.Pool), wsql.SubscriberConfig{
		ConsumerGroup:  "stock",
		SchemaAdapter:  wsql.DefaultPostgreSQLSchema{GenerateMessagesTableName: func(topic string) string { return `"outbox"."` + topic + `"` }},
		OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: func(topic string) string { return `"outbox"."` + topic + `_offsets"` }},
	}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	got := listen(t, s, Documents)
	for _, want := range messages(t, l.Pool, Documents) {
		m := next(t, got)
		if m.UUID != want.UUID {
			t.Errorf("got message %s, want %s", m.UUID, want.UUID)
		}
		m.Ack()
	}
}
