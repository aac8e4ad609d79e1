package readapi_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/readapi/feed"
)

// TestReadersWhoTakeNothingCostLittleAndEndWithTheirKey measures what is in memory for readers who are stuck in an event of a
// mebibyte: first with the tail, where all share what they send, and then behind it, where each has read for itself. None
// of them is waited for when their key is revoked. It runs alone, for the sake of what it measures.
func TestReadersWhoTakeNothingCostLittleAndEndWithTheirKey(t *testing.T) {
	const readers = 16
	a := withFeeds(t, feed.Config{Patience: time.Hour})
	dial := servePipes(t, a.Handler)
	for _, c := range []struct {
		who, query   string
		before, then func()
		most         int64 // KiB for each
	}{
		{"with the tail", "?category=document", func() {}, func() { appendLarge(t, a, 3) }, 512},
		{"behind it", "?category=document&after=start", func() { loseTail(t, a) }, func() {}, 512 + 1<<10},
	} {
		c.before()
		id, key := a.ServiceKey(t, "events:read", "unseal")
		var stuck []*bufio.Reader
		for range readers {
			conn := dial()
			go fmt.Fprintf(conn, "GET /v1/events%s HTTP/1.1\r\nHost: atlas\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", c.query, key)
			stuck = append(stuck, bufio.NewReader(conn))
			readUntil(t, stuck[len(stuck)-1], "retry: ")
		}
		c.then()
		for _, r := range stuck {
			readUntil(t, r, `{"position"`) // and not what follows
		}
		with := held()
		a.Append(t, "apikey", id, events.APIKeyRevoked{})
		a.Revoke(t)
		watchtest.Eventually(t, 30*time.Second, "the feeds end with their key", func() bool { return a.Feeds.Stats().Open == 0 })
		each := (with - held()) / readers >> 10
		t.Logf("%s: %d KiB for each of %d feeds", c.who, each, readers)
		if each > c.most {
			t.Errorf("%s: %d KiB for each of %d feeds, want %d at most", c.who, each, readers, c.most)
		}
	}
	if dropped := a.Feeds.Stats().Dropped; dropped != 0 {
		t.Errorf("%d feeds are said to have been dropped for their readers", dropped)
	}
}

// servePipes serves connections that hold nothing: what is not read is not sent.
func servePipes(t *testing.T, h http.Handler) (dial func() net.Conn) {
	t.Helper()
	l := pipes{make(chan net.Conn), make(chan struct{})}
	server := httpapi.Server("", h)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return func() net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		l.dialled <- there
		return here
	}
}

type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// readUntil reads as far as a text, and at most what a buffer holds beyond it.
func readUntil(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	for read := ""; !strings.HasSuffix(read, text); {
		c, err := r.ReadByte()
		if err != nil {
			t.Fatalf("after %q: %v", read, err)
		}
		read += string(c)
	}
}

// held returns how many bytes are in use.
func held() int64 {
	for range 2 { // pools give up what they keep at the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func appendLarge(t *testing.T, a *apptest.Atlas, count int) {
	t.Helper()
	for range count {
		a.Append(t, "document", uuid.New(), large())
	}
}

// loseTail has the tail begin anew, so that it holds nothing of what there is, and waits until it is there again.
func loseTail(t *testing.T, a *apptest.Atlas) {
	t.Helper()
	const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	if _, err := a.Pool.Exec(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	watchtest.Eventually(t, time.Minute, "the tail is lost", func() bool { return a.Tail.Position() < 0 })
	watchtest.Eventually(t, time.Minute, "the tail is back", func() bool { return a.Tail.Position() >= 0 })
}
