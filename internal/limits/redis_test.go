package limits

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

var redisServer = flag.String("redis", "", "a redis-server to test with, such as redis-server on the PATH")

// server is a Redis of the test's own.
type server struct {
	t    *testing.T
	port string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *server {
	t.Helper()
	if *redisServer == "" {
		t.Skip("it needs a server; give -redis redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{t: t, port: fmt.Sprint(l.Addr().(*net.TCPAddr).Port)}
	l.Close()
	s.start()
	t.Cleanup(func() { s.kill() })
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(*redisServer, "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", filepath.Clean(s.t.TempDir()))
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	watchtest.Eventually(s.t, 30*time.Second, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// node returns a limiter of a node that shares its counts.
func (s *server) node(setting string) *Limiter {
	s.t.Helper()
	shared, err := OpenRedis("redis://127.0.0.1:"+s.port+"/0", slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { shared.Close() })
	return newLimiter(s.t, setting, shared)
}

func TestNodesCountTogetherInRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := s.node("login.address=10/24h"), s.node("login.address=10/24h")
	var n atomic.Int64
	got := allowed(t, 60, func() bool {
		node := a
		if n.Add(1)%2 == 0 {
			node = b
		}
		return !node.Take(t.Context(), "login.address", "192.0.2.1").Refused
	})
	if configured, now := a.Shared(); got > 10 || got == 0 || !configured || !now {
		t.Errorf("%d of 60 were let through by two nodes, want 10; shared %t", got, now)
	}
	for range 10 {
		a.LoginDelay().Failed(t.Context(), "ann")
	}
	if wait := b.LoginDelay().Begin(t.Context(), "ann"); wait < 10*time.Second {
		t.Errorf("the other node lets wait %s", wait)
	}
	keys, err := a.shared.client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 2 {
		t.Errorf("got the keys %v, %v; want two", keys, err)
	}
	for _, key := range keys {
		if ttl := a.shared.client.TTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("%s stays for ever", key)
		}
	}
}

// While Redis is away each node counts for itself, at once and without refusing anybody; then they share again.
func TestWithoutRedisEachNodeCountsForItselfUntilItIsBack(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := s.node("login.address=3/24h"), s.node("login.address=3/24h")
	take := func(l *Limiter) bool { return !l.Take(t.Context(), "login.address", "k").Refused }
	for i := range 4 {
		if got := take(a); got != (i < 3) {
			t.Fatalf("%d: got %t", i, got)
		}
	}
	s.kill()
	for i := range 4 {
		if one, other := take(a), take(b); one != (i < 3) || other != (i < 3) {
			t.Errorf("without Redis, %d: got %t and %t", i, one, other)
		}
	}
	if _, now := a.Shared(); now {
		t.Error("it says that the counts are shared")
	}
	s.start()
	for _, l := range []*Limiter{a, b} {
		watchtest.Eventually(t, 30*time.Second, "the counts are shared again", func() bool {
			l.Take(t.Context(), "api.address", "another key") // Redis is asked when somebody asks
			_, now := l.Shared()
			return now
		})
	}
	for i := range 4 { // a new server knows of nothing
		l := a
		if i%2 == 1 {
			l = b
		}
		if got := take(l); got != (i < 3) {
			t.Errorf("with Redis again, %d: got %t", i, got)
		}
	}
}

func TestASilentRedisDelaysNobodyForLong(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	shared, err := OpenRedis("redis://"+silent.Addr().String()+"/0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	l := newLimiter(t, "login.address=2/24h", shared)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 3 {
		if got := !l.Take(ctx, "login.address", "k").Refused; got != (i < 2) {
			t.Errorf("%d: got %t", i, got)
		}
	}
	if ctx.Err() != nil {
		t.Error("it waited for 30 s")
	}
}

func TestRedisURLIsCheckedWithoutBeingRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://user:zzsecretzz@host", "zzsecretzz", "redis://:zzsecretzz@host:port/x"} {
		if err := CheckRedisURL(url); err == nil || fmt.Sprint(err) != "must be redis://user:password@host:port/database, or rediss://… for TLS" {
			t.Errorf("%s: got %v", url, err)
		}
	}
	if err := CheckRedisURL("rediss://user:password@host:6380/2"); err != nil {
		t.Error(err)
	}
}
