package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	dialTimeout = 5 * time.Second  // for one server
	askTimeout  = 5 * time.Second  // for a question about a stream
	ackTimeout  = 10 * time.Second // for the broker's word on one message
	pingEvery   = 5 * time.Second  // two that stay unanswered are a lost connection
	firstPause  = 100 * time.Millisecond
	lastPause   = 5 * time.Second
)

// CheckURL says what is wrong with the URL of a NATS server, or of several with commas. Its error never repeats it.
func CheckURL(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return errors.New("is no URL; special characters in the password must be percent-encoded")
		}
		known := slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme)
		if !known || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("must be nats://user:password@host:port, or tls://… for TLS; several servers with commas")
		}
	}
	return nil
}

// Dial connects to a NATS server and returns its JetStream. Close gives the connection back. Its errors never repeat the
// URL.
func Dial(text string, log *slog.Logger) (js jetstream.JetStream, closed func(), err error) {
	if err := CheckURL(text); err != nil {
		return nil, nil, fmt.Errorf("the URL of NATS %w", err)
	}
	host, _ := os.Hostname()
	nc, err := nats.Connect(text,
		nats.Name(fmt.Sprintf("atlas relay %s/%d", host, os.Getpid())),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.IgnoreAuthErrorAbort(),
		// What is published while the server is away fails at once: it would arrive late, and be refused then.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to nats lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to nats again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Debug("nats reports", "error", err) }),
	)
	if err != nil {
		return nil, nil, explain(err)
	}
	js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4*maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}

// connection is a way to NATS that is looked for until it is found, and then kept.
type connection struct {
	url string
	log *slog.Logger

	mu     sync.Mutex
	js     jetstream.JetStream
	closed func()
}

// keep has a connection until ctx ends. nats.go finds servers again that went away; a connection that it gives up for good, as it
// does where a server reports what it does not know, is made anew. What is wrong is logged when it changes, not with every try.
func (c *connection) keep(ctx context.Context) {
	said := ""
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, 3*lastPause) {
		js, closed, err := Dial(c.url, c.log)
		if err == nil {
			said = ""
			err = c.hold(ctx, js, closed)
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			c.log.Error("the relay waits for nats", "error", err)
		}
		wait.For(ctx, pause)
	}
}

// hold lends out a connection until ctx ends, or until it is closed for good, and returns why.
func (c *connection) hold(ctx context.Context, js jetstream.JetStream, closed func()) error {
	c.mu.Lock()
	c.js, c.closed = js, closed
	c.mu.Unlock()
	nc := js.Conn()
	c.log.Info("connected to nats", "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion())
	gone := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(gone) })
	if nc.IsClosed() { // it may have been before anybody listened
		return cmp.Or(nc.LastError(), nats.ErrConnectionClosed)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-gone:
	}
	return cmp.Or(nc.LastError(), nats.ErrConnectionClosed)
}

// stream returns the JetStream that is connected now, or nil.
func (c *connection) stream() jetstream.JetStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.js == nil || !c.js.Conn().IsConnected() {
		return nil
	}
	return c.js
}

func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		c.closed()
	}
}
