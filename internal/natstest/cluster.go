package natstest

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// Cluster is some servers that replicate what they store. It ends with the test.
type Cluster struct {
	t       testing.TB
	servers []*Server
}

// StartCluster starts a cluster of so many servers.
func StartCluster(t testing.TB, size int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	ports := freePorts(t, 2*size)
	var routes []*url.URL
	for _, port := range ports[:size] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	for i := range size {
		s := &Server{t: t, options: &server.Options{
			Host: "127.0.0.1", Port: ports[size+i], JetStream: true, StoreDir: t.TempDir(), ServerName: fmt.Sprintf("n%d", i),
			NoSigs: true, NoLog: true, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 4 << 30,
			Cluster: server.ClusterOpts{Name: "atlas", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}}
		t.Cleanup(s.Stop)
		s.Restart()
		c.servers = append(c.servers, s)
	}
	return c
}

// freePorts returns ports that nobody listens on.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// URL names all servers.
func (c *Cluster) URL() string {
	var all []string
	for _, s := range c.servers {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", s.options.Port))
	}
	return strings.Join(all, ",")
}

// JetStream returns a connection of the test's own to whichever server lives.
func (c *Cluster) JetStream() jetstream.JetStream {
	c.t.Helper()
	return Connect(c.t, c.URL())
}

// Server returns the server of a name, as streams name their leaders.
func (c *Cluster) Server(name string) *Server {
	c.t.Helper()
	for _, s := range c.servers {
		if s.options.ServerName == name {
			return s
		}
	}
	c.t.Fatalf("the cluster has no server %q", name)
	return nil
}
