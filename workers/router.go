package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/atlas-platform/atlas/workers/outbox"
)

const (
	drainTime    = 10 * time.Second // for messages in hand when Run is told to stop
	closeTime    = 2 * time.Second  // for handlers that do not end when they are cut off
	resubscribe  = time.Second      // between tries while the database is away
	maxRetries   = 5
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 2 * time.Second
	retryGrowth  = 2
	retryScatter = 0.2
)

// Router hands the messages of the outbox to workers.
type Router struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	workers []worker
}

type worker struct {
	name, topic string
	handle      message.NoPublishHandlerFunc
}

// New returns a router without workers on the pool's database. It takes connections of its own, one per worker.
func New(pool *pgxpool.Pool, log *slog.Logger) *Router { return &Router{pool: pool, log: log} }

// Handle adds a worker: the handler gets every message of the topic. The name is the worker's place in the topic, and
// must stay the same; no other worker may have it. Call it before Run.
func (r *Router) Handle(name, topic string, handle message.NoPublishHandlerFunc) {
	r.workers = append(r.workers, worker{name, topic, handle})
}

// Run hands out messages until ctx ends, and returns when those in hand are done. It fails at once when a name is taken
// twice or a topic does not exist.
func (r *Router) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	if len(r.workers) == 0 {
		<-ctx.Done()
		return nil
	}
	db := stdlib.OpenDB(*r.pool.Config().ConnConfig)
	defer db.Close()
	db.SetMaxIdleConns(len(r.workers))

	log := watermillLog(r.log)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTime}, log)
	if err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	router.AddMiddleware(middleware.Recoverer, trace, retry, r.report)

	running, stop := context.WithCancel(ctx)
	defer stop()
	cut, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	defer context.AfterFunc(running, func() { time.AfterFunc(drainTime, cutOff) })()
	var gates sync.WaitGroup
	for _, w := range r.workers {
		subscriber, err := outbox.NewSubscriber(db, w.name, log)
		if err != nil {
			return fmt.Errorf("worker %s: %w", w.name, err)
		}
		router.AddConsumerHandler(w.name, w.topic, &gate{Subscriber: subscriber, running: running, cut: cut, open: &gates, log: r.log}, w.handle)
	}
	err = router.Run(running)
	stop()
	gates.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return cmp.Or(err, errStopped)
}

var errStopped = errors.New("all workers have stopped by themselves")

func (r *Router) check() error {
	taken := map[string]bool{}
	for _, w := range r.workers {
		if w.name == "" || taken[w.name] {
			return fmt.Errorf("worker %q: the name is empty or taken", w.name)
		}
		taken[w.name] = true
	}
	return nil
}

// retry tries a handler again, with growing pauses. Together the tries stay far below outbox.AckDeadline.
func retry(handle message.HandlerFunc) message.HandlerFunc {
	return middleware.Retry{
		MaxRetries:          maxRetries,
		InitialInterval:     firstRetry,
		MaxInterval:         lastRetry,
		Multiplier:          retryGrowth,
		RandomizationFactor: retryScatter,
		ResetContextOnRetry: true,
	}.Middleware(handle)
}

// report logs each try that failed.
func (r *Router) report(handle message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		made, err := handle(m)
		if err != nil {
			r.log.Warn("worker failed", "worker", message.HandlerNameFromCtx(m.Context()), "message", m.UUID,
				"contract", m.Metadata.Get(outbox.MetaContract), "correlation_id", m.Metadata.Get(outbox.MetaCorrelation), "error", err)
		}
		return made, err
	}
}

// watermillLog lets Watermill log its errors; what it does is for debugging.
func watermillLog(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
}
