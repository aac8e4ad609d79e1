package transfer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// benchEvents is how many events each sample imports: streams of ten, written round robin by a thousand at a time.
const benchEvents = 100_000

// BenchmarkImport imports a file into a fresh database, checks included, and beside it gives PostgreSQL the same rows in
// one bare COPY into the same table with the same indexes. The ratio is the median over the pairs, which take turns.
func BenchmarkImport(b *testing.B) {
	ctx := context.Background()
	master := sealing.GenerateMaster()
	file, bare := benchFile(b, newSide(b, master))
	var ratios, imports, copies []float64
	for b.Loop() {
		copied := copyBare(b, bare)
		to := newSide(b, master)
		started := time.Now()
		if _, err := (Import{Pool: to.pool, Keys: to.keys}).Run(ctx, bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
		took := time.Since(started)
		to.pool.Close()
		ratios = append(ratios, copied.Seconds()/took.Seconds())
		imports, copies = append(imports, benchEvents/took.Seconds()), append(copies, benchEvents/copied.Seconds())
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(imports), "events/s")
	b.ReportMetric(median(copies), "bare-events/s")
	b.ReportMetric(float64(len(file))/benchEvents, "bytes/event")
}

// copyBare times one COPY of the rows.
func copyBare(b *testing.B, r *rows) time.Duration {
	b.Helper()
	pool := pgtest.NewPool(b, eventstore.Migrations())
	defer pool.Close()
	conn, err := pool.Acquire(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	started := time.Now()
	_, err = conn.Conn().PgConn().CopyFrom(context.Background(), r.stream(), `COPY atlas.events (`+eventColumns+`) FROM STDIN BINARY`)
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(started)
}

// benchFile makes an export of documents with half a KiB of ciphertext each.
func benchFile(b *testing.B, s *side) (file []byte, r *rows) {
	b.Helper()
	var out bytes.Buffer
	w := newWriter(&out)
	h := Header{Format: formatName, Version: formatVersion, From: 1, Upto: benchEvents, Horizon: benchEvents}
	if err := w.extra(extra{Header: &h}); err != nil {
		b.Fatal(err)
	}
	const round = 1000
	var streams [round]string
	r = &rows{}
	for i := range benchEvents {
		if i%(round*10) < round {
			streams[i%round] = "document-" + uuid.Must(uuid.NewV7()).String()
		}
		e := Event{Position: int64(i + 1), Stream: streams[i%round], Version: int64(i%(round*10)/round + 1), ID: uuid.Must(uuid.NewV7()),
			Type: "document.revised", Schema: 1, RecordedAt: time.Now().UTC().Truncate(time.Microsecond), Subject: &ann,
			Data:     fmt.Appendf(nil, `{"owner_id": "%s", "content_type": "text/markdown"}`, ann),
			Metadata: fmt.Appendf(nil, `{"actor": "%s", "command_id": "%s", "request_id": "%s"}`, ann, uuid.New(), uuid.New()),
			Sealed:   []byte(strings.Repeat("0123456789abcdef", 32)),
		}
		if err := w.write(e.appendLine(nil)); err != nil {
			b.Fatal(err)
		}
		w.counts.Events++
		r.add(&e)
	}
	if err := w.finish(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes(), r
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkCheck reads and checks a file of a hundred thousand events.
func BenchmarkCheck(b *testing.B) {
	s := newSide(b, sealing.GenerateMaster())
	file, _ := benchFile(b, s)
	for b.Loop() {
		if _, err := Check(bytes.NewReader(file), s.keys); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(benchEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
