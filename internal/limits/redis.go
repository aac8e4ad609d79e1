package limits

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/goredisstore.v9"
)

const (
	redisTimeout = 250 * time.Millisecond // of one question; what waits for it is somebody's request
	redisPause   = time.Second            // after a failure, until Redis is asked again
	redisPrefix  = "atlas:limits:"
)

// errBusy says that one count was changed by too many at once.
var errBusy = errors.New("limits: one key is counted by too many at once")

// Redis is where several nodes count together. Whoever uses it has to do without while it is away.
type Redis struct {
	client *redis.Client
	store  throttled.GCRAStoreCtx
	log    *slog.Logger

	mu    sync.Mutex
	away  bool
	again time.Time // when it is worth asking again
}

// CheckRedisURL says what is wrong with the URL of a Redis: redis://user:password@host:port/db, or rediss:// for TLS.
// Its error never repeats the URL.
func CheckRedisURL(url string) error {
	if _, err := redis.ParseURL(url); err != nil {
		return errors.New("must be redis://user:password@host:port/database, or rediss://… for TLS")
	}
	return nil
}

// OpenRedis returns the Redis of a URL. It need not be there yet.
func OpenRedis(url string, log *slog.Logger) (*Redis, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, CheckRedisURL(url)
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = redisTimeout, redisTimeout, redisTimeout
	options.ContextTimeoutEnabled = true
	options.MaxRetries = -1 // the memory is the second try
	client := redis.NewClient(options)
	store, err := goredisstore.NewCtx(client, redisPrefix)
	if err != nil {
		return nil, fmt.Errorf("limits in Redis: %w", err)
	}
	return &Redis{client: client, store: store, log: log}, nil
}

// Close gives the connections back.
func (r *Redis) Close() error { return r.client.Close() }

var errAway = errors.New("limits: Redis is away")

// try asks Redis, unless it was away a moment ago. Its error means that it did not answer.
func (r *Redis) try(ctx context.Context, ask func(context.Context) error) error {
	if !r.worthAsking() {
		return errAway
	}
	// A caller that hangs up says nothing about Redis.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
	defer cancel()
	err := ask(limited)
	r.heard(err)
	return err
}

func (r *Redis) worthAsking() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away && time.Now().Before(r.again) {
		return false
	}
	if r.away {
		r.again = time.Now().Add(redisPause) // one caller asks, the others do without
	}
	return true
}

// heard takes down whether Redis answered, and logs when that changes.
func (r *Redis) heard(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.away
	r.away = err != nil && !errors.Is(err, errBusy)
	if r.away {
		r.again = time.Now().Add(redisPause)
	}
	switch {
	case r.away && !was:
		r.log.Warn("redis does not answer; limits are counted by each node for itself", "error", err)
	case was && !r.away:
		r.log.Info("redis answers again; limits are shared")
	}
}

func (r *Redis) up() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.away
}
