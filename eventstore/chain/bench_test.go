package chain_test

import (
	"context"
	"testing"

	"github.com/atlas-platform/atlas/eventstore/chain"
)

// BenchmarkSealAndVerify seals and verifies a log of events with 1 KiB of ciphertext each; one operation is one event.
func BenchmarkSealAndVerify(b *testing.B) {
	const events = 100_000
	l := newLog(b)
	l.write(b, 1)
	const fill = `
		INSERT INTO atlas.events
		SELECT nextval('atlas.events_position'), e.version + n, e.recorded_at, gen_random_uuid(), e.subject, e.schema_version,
			e.stream, e.type, e.data, e.metadata, decode(repeat(md5(n::text), 64), 'hex'), NULL
		FROM atlas.events e, generate_series(1, $1) n
		WHERE e.position = 1`
	if _, err := l.Pool.Exec(context.Background(), fill, events); err != nil {
		b.Fatal(err)
	}
	l.tamper(b, `ANALYZE atlas.events`)
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			l.tamper(b, `DELETE FROM atlas.chain_blocks`)
			l.seal(b, 1024)
		}
		b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		var size float64
		const q = `SELECT sum(octet_length(entries))::float8 / sum(events)::float8 FROM atlas.chain_blocks`
		if err := l.Pool.QueryRow(context.Background(), q).Scan(&size); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(size, "B/event")
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := chain.Verify(context.Background(), l.Pool, chain.Options{})
			if err != nil || r.Found > 0 {
				b.Fatal(r.Findings, err)
			}
		}
		b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}
