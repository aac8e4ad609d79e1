package subscription

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/atlas-platform/atlas/eventstore"
)

// errNacked stands for the reason of a nack where none was reported.
var errNacked = errors.New("the message was nacked")

// SubscriberConfig says how a Subscriber reads topics.
type SubscriberConfig struct {
	// Group is the consumer group: the subscribers of a group share its messages.
	Group string
	// Definition says which subscription a topic is for the group; nil is TopicDefinition.
	Definition func(group, topic string) Definition
	Options
}

// Subscriber is a Watermill subscriber of the log. A nack without a reported reason is a failure like any other, to be
// tried again as Options.Retry says; see Report for handlers that know more. Its messages' contexts are those of this
// package: Event, Extend and the others work on them.
type Subscriber struct {
	log    *Log
	config SubscriberConfig

	mu     sync.Mutex
	closed bool
	ctx    context.Context // ends with Close
	end    context.CancelFunc
	open   sync.WaitGroup
}

var _ message.SubscribeInitializer = (*Subscriber)(nil)

// NewSubscriber returns a subscriber for one consumer group.
func NewSubscriber(l *Log, config SubscriberConfig) (*Subscriber, error) {
	if config.Definition == nil {
		config.Definition = TopicDefinition
	}
	if err := config.Definition(config.Group, "topic").check(); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	return &Subscriber{log: l, config: config, ctx: ctx, end: end}, nil
}

// SubscribeInitialize makes the topic's subscription unless it is there.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	return s.log.Create(s.ctx, s.config.Definition(s.config.Group, topic))
}

// Subscribe returns the messages of a topic, as many at once as Options.Concurrency says, each of another stream. The
// channel is closed when ctx has ended or the subscriber is closed, after what is in hand was answered or cut short.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the subscriber is closed")
	}
	d := s.config.Definition(s.config.Group, topic)
	if err := s.log.Create(ctx, d); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	unhook := context.AfterFunc(s.ctx, stop)
	out := make(chan *message.Message)
	m := s.log.newMember(running, d, s.config.Options, func(d *delivery) error { return d.send(out) })
	m.offers = true
	s.open.Go(func() {
		defer close(out)
		defer stop()
		defer unhook() // a subscriber may outlive many subscriptions
		defer s.log.enlist(m)()
		_ = m.run(running)
	})
	return out, nil
}

// Close ends all subscriptions and waits for them. What is in hand is waited for as Options.Drain says.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.open.Wait()
	return nil
}

// send offers a message and waits for the answer.
func (d *delivery) send(out chan<- *message.Message) error {
	msg, err := newMessage(d.event)
	if err != nil {
		return Permanent(err)
	}
	msg.SetContext(&d.ctx)
	select {
	case out <- msg:
	case <-d.recall:
		return errWithdrawn
	}
	d.begun.set(time.Now())
	select { // most that answer at once have done so by now
	case <-msg.Acked():
		return nil
	default:
	}
	select {
	case <-msg.Acked():
		return nil
	case <-msg.Nacked():
		return d.reason()
	case <-d.member.abandon:
		return errUnanswered
	}
}

func (d *delivery) reason() error {
	d.member.mu.Lock()
	defer d.member.mu.Unlock()
	return cmp.Or(d.reported, errNacked)
}

var categoryPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// TopicCategory returns the category whose streams a topic is: the topic itself where it can be one ("document"), else a
// name made of its hash.
func TopicCategory(topic string) string {
	if categoryPattern.MatchString(topic) {
		return topic
	}
	sum := sha256.Sum256([]byte(topic))
	return "topic_" + hex.EncodeToString(sum[:16])
}

// TopicDefinition is the subscription of a group to a topic: all events of the topic's category, from the beginning.
func TopicDefinition(group, topic string) Definition {
	category := TopicCategory(topic)
	return Definition{Name: group + "/" + category, Filter: eventstore.Filter{Categories: []string{category}}}
}
