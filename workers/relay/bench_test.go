package relay

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/projections/engine"
	"github.com/atlas-platform/atlas/workers/outbox"
)

// BenchmarkForwarding forwards a backlog to a server in the same process; `atlas bench relay` has one of its own.
func BenchmarkForwarding(b *testing.B) {
	ctx, end := context.WithCancel(context.Background())
	pool := pgtest.NewPool(b, eventstore.Migrations(), engine.Migrations(), outbox.Migrations(), Migrations())
	broker := natstest.Start(b)
	js := broker.JetStream()
	if _, err := Setup(ctx, js, users.prefix, topic, Wish{}); err != nil {
		b.Fatal(err)
	}
	const fill = `
		INSERT INTO outbox.users (uuid, payload, metadata, transaction_id)
		SELECT gen_random_uuid(), json_build_object('user_id', gen_random_uuid(), 'at', now()),
			json_build_object('contract', 'user.registered.v1', 'event_id', gen_random_uuid(), 'stream', 'user-' || gen_random_uuid(),
				'stream_version', n::text, 'position', n::text, 'occurred_at', now()::text, 'correlation_id', gen_random_uuid()),
			pg_current_xact_id()
		FROM generate_series(1, $1::bigint) AS n`
	if _, err := pool.Exec(ctx, fill, b.N); err != nil {
		b.Fatal(err)
	}
	c := Config{URL: broker.URL(), Prefix: users.prefix, Topics: []string{topic}}
	all := make(chan struct{})
	acknowledged := 0
	r := New(pool, c, slog.New(slog.DiscardHandler), func(_ string, n int) {
		if acknowledged += n; acknowledged == b.N {
			close(all)
		}
	})
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	started := time.Now()
	go func() { done <- r.Run(ctx) }()
	<-all
	b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "messages/s")
	b.StopTimer()
	end()
	<-done
}
