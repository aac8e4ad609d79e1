package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
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

// defaultConns is how many connections a pool may have unless the URL or an option says otherwise. The driver's own
// default goes by the number of processors, and would let the parts of a process on a small machine starve each other.
const defaultConns = 20

// Connect makes a pool for the database at url. It connects when first used: WaitReady tells when that will succeed.
// Every session runs in UTC and, unless a transaction says otherwise, READ COMMITTED. No error holds the URL's password.
func Connect(ctx context.Context, url string, opts ...Option) (*pgxpool.Pool, error) {
	cfg, err := parse(url)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = defaultConns
	}
	for _, opt := range opts {
		opt(cfg)
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// CheckURL says what is wrong with the URL of a database, without connecting to it or quoting it.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// parse reads the URL without quoting it in an error: what the parser quotes may be a piece of a badly escaped password.
func parse(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if file := (*fs.PathError)(nil); errors.As(err, &file) { // a certificate that cannot be read
		return nil, fmt.Errorf("database URL: %w", file)
	}
	if err != nil || strings.Contains(cfg.ConnConfig.Database, "@") { // where a slash in a password ends up
		return nil, errors.New("database URL: not of the form postgres://user:password@host:port/database?option=value " +
			"(in the password, anything but letters and digits is written %XX)")
	}
	tuneConn(cfg.ConnConfig)
	cfg.AfterConnect = scanUTC
	return cfg, nil
}

// scanUTC has times come back in UTC and not in whatever zone the machine is set to.
func scanUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// tuneConn sets what Atlas relies on in every session, and what makes both ends notice within half a minute that the
// other has vanished: a server that keeps a dead client's transaction open would hold back every reader of the log.
func tuneConn(c *pgx.ConnConfig) {
	if _, ok := c.RuntimeParams["application_name"]; !ok {
		c.RuntimeParams["application_name"] = "atlas"
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
