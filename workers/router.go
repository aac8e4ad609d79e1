package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	closeTime    = 20 * time.Second // for all of a stop: what is in hand has ten, and two more when it is cut off
	resubscribe  = time.Second      // between tries while the database is away
	maxRetries   = 2
	firstRetry   = 100 * time.Millisecond
	lastRetry    = time.Second
	retryGrowth  = 2
	retryScatter = 0.2
)

// Router hands events to workers.
type Router struct {
	subscriptions *subscription.Log
	log           *slog.Logger
	observe       func(worker string, took time.Duration, outcome subscription.Outcome)
	workers       []worker
}

type worker struct {
	name    string
	chosen  eventstore.Filter
	handle  message.NoPublishHandlerFunc
	options subscription.Options
}

// definition is the subscription that the worker is.
func (w worker) definition() subscription.Definition {
	return subscription.Definition{Name: w.name, Filter: w.chosen}
}

// New returns a router without workers.
func New(subscriptions *subscription.Log, log *slog.Logger) *Router {
	return &Router{subscriptions: subscriptions, log: log}
}

// Observe has the function told of everything that workers had in hand. Call it before Handle.
func (r *Router) Observe(observe func(worker string, took time.Duration, outcome subscription.Outcome)) {
	r.observe = observe
}

// Handle adds a worker: the handler gets every event that is chosen, from the first one on. The name is the worker's place
// in the log, a subscription: it must stay the same, no other worker may have it, and what it chose at first it chooses
// for ever. Options say how many streams it works on at once, when it tries again, and whether it takes part in replays.
func (r *Router) Handle(name string, chosen eventstore.Filter, handle message.NoPublishHandlerFunc, options ...func(*subscription.Options)) {
	o := subscription.Options{Observe: r.observe}
	for _, set := range options {
		set(&o)
	}
	r.workers = append(r.workers, worker{name, chosen, handle, o})
}

// Replays is an option for workers whose effects may happen again: they take part in replays.
func Replays(o *subscription.Options) { o.Replays = true }

// Prepare makes the workers' subscriptions where they are missing.
func (r *Router) Prepare(ctx context.Context) error {
	for _, w := range r.workers {
		if err := r.subscriptions.Create(ctx, w.definition()); err != nil {
			return err
		}
	}
	return nil
}

// Run hands out events until ctx ends, and returns when those in hand are done. It fails at once when a name is taken
// twice, or what a worker chooses cannot be.
func (r *Router) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	if len(r.workers) == 0 {
		<-ctx.Done()
		return nil
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTime}, watermillLog(r.log))
	if err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	router.AddMiddleware(r.middleware()...)
	for _, w := range r.workers {
		s, err := subscription.NewSubscriber(r.subscriptions, subscription.SubscriberConfig{
			Group: w.name, Options: w.options,
			Definition: func(string, string) subscription.Definition { return w.definition() },
		})
		if err != nil {
			return fmt.Errorf("worker %s: %w", w.name, err)
		}
		router.AddConsumerHandler(w.name, w.name, patient{s, r.log}, w.handle)
	}
	err = router.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return cmp.Or(err, errStopped)
}

var errStopped = errors.New("all workers have stopped by themselves")

// middleware lists what stands around every handler, the outermost first. What became of a message is told outside of all
// tries, so that a try that failed parks nothing; a panic is turned into an error inside of that and outside of the tries,
// which it ends.
func (r *Router) middleware() []message.HandlerMiddleware {
	return []message.HandlerMiddleware{answer, middleware.Recoverer, trace, retry, r.report}
}

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

// patient is a subscriber that waits for a database that is away.
type patient struct {
	message.Subscriber
	log *slog.Logger
}

// Subscribe subscribes as soon as the database is there.
func (p patient) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	for {
		messages, err := p.Subscriber.Subscribe(ctx, topic)
		if !postgres.IsConnectionLost(err) {
			return messages, err
		}
		p.log.Warn("worker waits for the database", "worker", topic, "error", err)
		if !wait.For(ctx, resubscribe) {
			return nil, ctx.Err()
		}
	}
}

// answer tells the subscription why a message failed. One whose lease ended while it waited for its handler is not begun.
func answer(handle message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		if err := subscription.Live(m.Context()); err != nil {
			return nil, err
		}
		ctx := m.Context()
		made, err := handle(m)
		if err != nil {
			subscription.Report(ctx, err)
		}
		return made, err
	}
}

// retry tries a handler again at once a few times, which mends what is over in a moment. What takes longer is for the
// subscription, which lets other streams go on meanwhile.
func retry(handle message.HandlerFunc) message.HandlerFunc {
	return middleware.Retry{
		MaxRetries:          maxRetries,
		InitialInterval:     firstRetry,
		MaxInterval:         lastRetry,
		Multiplier:          retryGrowth,
		RandomizationFactor: retryScatter,
		ResetContextOnRetry: true,
		ShouldRetry:         func(p middleware.RetryParams) bool { return !subscription.IsAnswer(p.Err) },
	}.Middleware(handle)
}

// report logs each try that failed.
func (r *Router) report(handle message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		made, err := handle(m)
		if err != nil {
			r.log.Warn("worker failed", "worker", message.HandlerNameFromCtx(m.Context()), "message", m.UUID,
				"type", m.Metadata.Get(subscription.MetaType), "correlation_id", m.Metadata.Get(subscription.MetaCorrelation), "error", err)
		}
		return made, err
	}
}

// watermillLog lets Watermill log its errors; what it does is for debugging.
func watermillLog(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
}
