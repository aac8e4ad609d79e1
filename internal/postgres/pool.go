package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Option changes how a pool is made.
type Option func(*pgxpool.Config)

// MaxConns bounds the pool's connections; it wins over pool_max_conns in the URL.
func MaxConns(n int32) Option {
	return func(c *pgxpool.Config) { c.MaxConns = n }
}

// Tracer has every query traced.
func Tracer(t pgx.QueryTracer) Option {
	return func(c *pgxpool.Config) { c.ConnConfig.Tracer = t }
}

// Connect makes a pool for the database at url. It connects when first used: WaitReady tells when that will succeed.
// Every session runs in UTC and, unless a transaction says otherwise, READ COMMITTED. No error holds the URL's password.
func Connect(ctx context.Context, url string, opts ...Option) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, unreadable(err)
	}
	tuneConn(cfg.ConnConfig)
	for _, opt := range opts {
		opt(cfg)
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// unreadable drops the parser's own words: what they quote may be a piece of a badly escaped password.
func unreadable(err error) error {
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return fmt.Errorf("database URL: %w", file)
	}
	return errors.New("database URL: not of the form postgres://user:password@host:port/database?option=value " +
		"(in the password, anything but letters and digits is written %XX)")
}

// tuneConn sets what Atlas relies on in every session, and what makes both ends notice within half a minute that the
// other has vanished: a server that keeps a dead client's transaction open would hold back every reader of the log.
func tuneConn(c *pgx.ConnConfig) {
	defaults := map[string]string{"application_name": "atlas"}
	for name, value := range defaults {
		if _, ok := c.RuntimeParams[name]; !ok {
			c.RuntimeParams[name] = value
		}
	}
	c.RuntimeParams["timezone"] = "UTC"
	c.RuntimeParams["default_transaction_isolation"] = "read committed"
	c.RuntimeParams["tcp_keepalives_idle"] = "15"
	c.RuntimeParams["tcp_keepalives_interval"] = "5"
	c.RuntimeParams["tcp_keepalives_count"] = "3"
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	c.DialFunc = dialer.DialContext
}
