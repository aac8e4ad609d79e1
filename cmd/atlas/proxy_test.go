package main_test

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// cable is the way of one node to the database, which can be cut: bytes go no further, and nobody is told, as when a
// switch dies.
type cable struct {
	listener net.Listener
	mu       sync.Mutex
	whole    *sync.Cond
	cut      bool
}

// newCable returns a way to the database, and the URL of its near end.
func newCable(t testing.TB, database string) (c *cable, near string) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	c = &cable{}
	c.whole = sync.NewCond(&c.mu)
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.listener.Close()
		c.mend()
	})
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	go func() {
		for {
			here, err := c.listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial(network, address)
			if err != nil {
				here.Close()
				continue
			}
			go c.carry(here, there)
			go c.carry(there, here)
		}
	}()
	at := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: c.listener.Addr().String(), Path: "/" + cfg.Database}
	return c, at.String() + "?sslmode=disable"
}

func (c *cable) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		for c.cut {
			c.whole.Wait()
		}
		c.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cable) sever() { c.set(true) }
func (c *cable) mend()  { c.set(false) }

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	c.whole.Broadcast()
}
