package eventstore_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

const mebibyte = 1 << 20

// large is a document whose body has so many bytes.
func large(t *testing.T, bytes int) events.DocumentCreated {
	t.Helper()
	raw := make([]byte, bytes/2)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return events.DocumentCreated{OwnerID: ann, Title: "large", Body: hex.EncodeToString(raw), ContentType: "text/plain"}
}

// requireSmall holds that a batch has few enough large events, and returns how much they say.
func requireSmall(t *testing.T, who string, b eventstore.Batch) {
	t.Helper()
	bytes, last := 0, 0
	for _, r := range b.Events {
		last = len(mustEvent(t, r).(events.DocumentCreated).Body)
		bytes += last
	}
	if bytes-last > 8*mebibyte {
		t.Errorf("%s: a batch has %d events of %d bytes, and would be large enough without the last", who, len(b.Events), bytes)
	}
}

func TestABatchIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	live := l.Tail.From(0, eventstore.Filter{})
	var positions []int64
	for _, bytes := range []int{100, 1 * mebibyte, 9 * mebibyte, 7 * mebibyte, 10, 2 * mebibyte, 1 * mebibyte, 8 * mebibyte, 10, 10} {
		o := mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{large(t, bytes)}})
		positions = append(positions, o.Position())
	}
	end := horizon(t, l)
	readers := map[string]func(ctx context.Context, after int64) (eventstore.Batch, error){
		"from the log": func(ctx context.Context, after int64) (eventstore.Batch, error) {
			return l.Store.ReadAll(ctx, after, end, eventstore.Filter{}, 1000)
		},
		"from the tail": func(ctx context.Context, _ int64) (eventstore.Batch, error) { return live.Next(ctx, 1000) },
	}
	for who, read := range readers {
		seen := 0
		for after := int64(0); after < end; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for one batch
			b, err := read(ctx, after)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			requireSmall(t, who, b)
			for _, r := range b.Events {
				if r.Position != positions[seen] || r.Position > b.Upto {
					t.Fatalf("%s: got position %d in a batch up to %d, want %d", who, r.Position, b.Upto, positions[seen])
				}
				seen++
			}
			if b.Upto <= after {
				t.Fatalf("%s: a batch after %d goes up to %d", who, after, b.Upto)
			}
			after = b.Upto
		}
		if seen != len(positions) {
			t.Errorf("%s: saw %d events, want %d", who, seen, len(positions))
		}
	}
}

// TestAModestReaderTakesLittleAndWaitsForItsTurn reads large events in small batches, from the log and from the tail's
// memory, and only from the latter while somebody else has the one turn.
func TestAModestReaderTakesLittleAndWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	old := mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{created("old")}}).Position()
	tail := l.Node(t).Tail // begins behind the old event, so that is not in its memory
	follow(t, tail.From(0, eventstore.Filter{}), 1)
	turns := eventstore.NewTurns(1)
	modest := func(after int64) *eventstore.Reader {
		return tail.From(after, eventstore.Filter{}).Modest(mebibyte, turns)
	}
	live, behind := modest(old), modest(0)
	for range 6 {
		mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{large(t, mebibyte*2/3)}})
	}
	turns <- struct{}{}
	for seen := 0; seen < 6; {
		seen += mustBatch(t, ctx, live)
	}
	short, end := context.WithTimeout(ctx, 50*time.Millisecond)
	defer end()
	if _, err := behind.Next(short, 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a turn: got %v, want that it waits", err)
	}
	<-turns
	for seen := 0; seen < 7; {
		seen += mustBatch(t, ctx, behind)
	}
}

// mustBatch returns how many events the next batch has, which must be two large ones at most.
func mustBatch(t *testing.T, ctx context.Context, r *eventstore.Reader) int {
	t.Helper()
	b, err := r.Next(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, e := range b.Events {
		bytes += len(mustEvent(t, e).(events.DocumentCreated).Body)
	}
	if bytes > mebibyte*4/3+100 {
		t.Errorf("a batch has %d events of %d bytes", len(b.Events), bytes)
	}
	return len(b.Events)
}

// counted is a connection that counts what comes from the server.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// TestAPageFetchesNoMoreThanItHolds reads small events before many large ones, with and without a filter. Nothing that
// does not fit into the page comes from the server, though the page had room for a thousand events.
func TestAPageFetchesNoMoreThanItHolds(t *testing.T) {
	t.Parallel()
	const small, big = 20, 24
	l := logtest.New(t)
	var came atomic.Int64
	pool, err := postgres.Connect(t.Context(), l.URL, func(c *pgxpool.Config) {
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return counted{conn, &came}, err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store := eventstore.New(pool, logtest.Vocabulary(t), l.Keys)
	for n := range small + big {
		bytes := 10
		if n >= small {
			bytes = mebibyte / 2
		}
		if n == small { // far enough away to be found by an index
			exec1(t, l, `SELECT setval('atlas.events_position', last_value + 100000) FROM atlas.events_position`)
		}
		mustAppend(t, l, eventstore.Write{Stream: newStream(), Expect: eventstore.NoStream, Events: []events.Event{large(t, bytes)}})
	}
	end := horizon(t, l)
	for name, f := range map[string]eventstore.Filter{"all": {}, "of a type": {Types: []string{"document.created"}}, "of a category": {Categories: []string{"document"}}} {
		seen := 0
		for after := int64(0); after < end; {
			came.Store(0)
			b, err := store.ReadAll(t.Context(), after, end, f, 1000)
			if err != nil {
				t.Fatal(err)
			}
			requireSmall(t, name, b)
			if got := came.Load(); got > 9*mebibyte {
				t.Errorf("%s: %d events came in %d bytes", name, len(b.Events), got)
			}
			seen += len(b.Events)
			after = b.Upto
		}
		if seen != small+big {
			t.Errorf("%s: saw %d events, want %d", name, seen, small+big)
		}
	}
}
