package natstest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience bounds how long a server may take to start on a busy machine.
const patience = time.Minute

// Server is a NATS server. It ends with the test.
type Server struct {
	t       testing.TB
	options *server.Options
	running *server.Server
}

// Start starts a server. The options are changed before it does.
func Start(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, options: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 4 << 30,
	}}
	for _, c := range change {
		c(s.options)
	}
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// Stop ends the server, as a restart of its machine does in good order. What it stored stays.
func (s *Server) Stop() {
	if s.running != nil {
		s.running.Shutdown()
		s.running.WaitForShutdown()
		s.running = nil
	}
}

// Restart starts the server where it was, with what it stored.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	running, err := server.NewServer(s.options.Clone())
	if err != nil {
		s.t.Fatal(err)
	}
	s.running = running
	go running.Start()
	if !running.ReadyForConnections(patience) {
		s.t.Fatal("the NATS server does not start")
	}
	s.options.Port = running.Addr().(*net.TCPAddr).Port
}

// T is the test that the server belongs to.
func (s *Server) T() testing.TB { return s.t }

// URL is where the server listens.
func (s *Server) URL() string { return "nats://" + s.running.Addr().String() }

// JetStream returns a connection of the test's own, which survives restarts.
func (s *Server) JetStream() jetstream.JetStream {
	s.t.Helper()
	return Connect(s.t, s.URL())
}

// Connect returns a connection to a server at a URL, closed when the test ends.
func Connect(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.IgnoreAuthErrorAbort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Stream returns a stream as it is now.
func Stream(t testing.TB, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	s, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
	return s
}
