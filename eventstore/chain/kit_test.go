package chain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		os.Exit(sealForEver(url))
	}
	pgtest.Main(m)
}

var ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")

// log is a log with a chain.
type log struct {
	*logtest.Log
	signer *chain.Signer
}

func newLog(t testing.TB) *log {
	t.Helper()
	l := &log{Log: logtest.New(t, chain.Migrations())}
	secret, err := l.Keys.Secret(context.Background(), "chain")
	if err != nil {
		t.Fatal(err)
	}
	if l.signer, err = chain.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	return l
}

// write appends n events to a stream of their own and returns it with the position of the last.
func (l *log) write(t testing.TB, n int) (eventstore.Stream, int64) {
	t.Helper()
	w := eventstore.Write{Stream: eventstore.NewStream("document", uuid.Must(uuid.NewV7())), Expect: eventstore.NoStream}
	w.Events = append(w.Events, events.DocumentCreated{OwnerID: ann, Title: "Plan", Body: "Ship it.", ContentType: "text/plain"})
	for i := 1; i < n; i++ {
		w.Events = append(w.Events, events.DocumentArchived{})
	}
	ctx := eventstore.WithMetadata(context.Background(), eventstore.Metadata{Actor: ann, RequestID: "r1", Client: eventstore.Client{Address: "192.0.2.1"}})
	o, err := l.Store.Append(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	return w.Stream, o.Position()
}

func (l *log) sealer(blockSize int64) *chain.Sealer {
	return chain.NewSealer(l.Pool, slog.New(slog.DiscardHandler), l.signer, func(chain.Head) {}).Every(0, blockSize)
}

// seal seals all that is final, in blocks of up to n events.
func (l *log) seal(t testing.TB, n int64) {
	t.Helper()
	for s := l.sealer(n); ; {
		head, err := s.Seal(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if head == nil {
			return
		}
	}
}

func (l *log) verify(t testing.TB) *chain.Report {
	t.Helper()
	r, err := chain.Verify(context.Background(), l.Pool, chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// heads exports the heads as an operator does.
func (l *log) heads(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	if err := chain.Heads(context.Background(), l.Pool, l.signer, 0, func(h chain.Head) error { return out.Encode(h) }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (l *log) verifyWith(t testing.TB, heads []byte) *chain.Report {
	t.Helper()
	r := l.verify(t)
	if err := r.VerifyHeads(context.Background(), l.Pool, bytes.NewReader(heads), l.signer.Public()); err != nil {
		t.Fatal(err)
	}
	return r
}

// tamper runs statements as a superuser to whom no trigger and no constraint applies.
func (l *log) tamper(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, l.Pool, func(tx pgx.Tx) error {
		for _, s := range append([]string{`SET LOCAL session_replication_role = replica`}, statements...) {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// burn draws positions that nobody will ever hold, and returns the last of them.
func (l *log) burn(t testing.TB, n int) (position int64) {
	t.Helper()
	const q = `SELECT max(nextval('atlas.events_position')) FROM generate_series(1, $1)`
	if err := l.Pool.QueryRow(context.Background(), q, n).Scan(&position); err != nil {
		t.Fatal(err)
	}
	return position
}

func wantSound(t testing.TB, r *chain.Report, events int64) {
	t.Helper()
	if r.Found != 0 || r.Events != events || r.Unsealed.Events != 0 {
		t.Errorf("%d events verified, %d unsealed, findings %v; want %d, 0 and none", r.Events, r.Unsealed.Events, r.Findings, events)
	}
}
