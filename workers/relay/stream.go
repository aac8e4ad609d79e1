package relay

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Limits is how a stream is set up.
type Limits struct {
	Replicas   int           // servers that keep it, 1 to 5
	MaxAge     time.Duration // how long messages stay; 0 is for ever
	MaxBytes   int64         // how large it may grow; 0 is as large as the server lets it
	MaxMsgs    int64         // how many messages it may hold; 0 is any number
	Duplicates time.Duration // for how long the broker itself knows ids
}

// DefaultLimits keep messages for a week on one server.
func DefaultLimits() Limits {
	return Limits{Replicas: 1, MaxAge: 7 * 24 * time.Hour, Duplicates: 2 * time.Minute}
}

// Check says what is wrong with the limits, all faults in one error.
func (l Limits) Check() error {
	var faults []error
	if l.Replicas < 1 || l.Replicas > 5 {
		faults = append(faults, errors.New("replicas must be 1 to 5"))
	}
	if l.MaxAge < 0 || l.MaxBytes < 0 || l.MaxMsgs < 0 {
		faults = append(faults, errors.New("limits must not be below 0, which is none"))
	}
	if l.Duplicates < 100*time.Millisecond {
		faults = append(faults, errors.New("the window for duplicates must be 100ms or longer"))
	}
	if l.MaxAge > 0 && l.Duplicates > l.MaxAge {
		faults = append(faults, errors.New("the window for duplicates must not be longer than messages stay"))
	}
	return errors.Join(faults...)
}

var prefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckPrefix says what is wrong with what the names of streams and subjects begin with.
func CheckPrefix(text string) error {
	if !prefix.MatchString(text) {
		return errors.New("must be 1 to 64 letters, digits, - and _")
	}
	return nil
}

// config is the stream of a topic as Setup makes it. Full, it takes no more: dropping the oldest would lose messages that
// nobody has read.
func (n names) config(l Limits) jetstream.StreamConfig {
	unlimited := func(v int64) int64 {
		if v == 0 {
			return -1
		}
		return v
	}
	return jetstream.StreamConfig{
		Name: n.stream(), Subjects: []string{n.subjects()},
		Description: "messages of Atlas about " + n.topic + ", forwarded from its outbox; published to by its relay alone",
		Retention:   jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		Replicas: l.Replicas, MaxAge: l.MaxAge, MaxBytes: unlimited(l.MaxBytes), MaxMsgs: unlimited(l.MaxMsgs),
		MaxMsgsPerSubject: -1, MaxConsumers: -1, MaxMsgSize: -1, Duplicates: l.Duplicates,
	}
}

// unfit says why a stream cannot hold the topic's messages without losing some; "" if it can.
func (n names) unfit(c jetstream.StreamConfig) string {
	var why []string
	if !slices.Equal(c.Subjects, []string{n.subjects()}) {
		why = append(why, fmt.Sprintf("its subjects are %s and not %s alone", strings.Join(c.Subjects, ", "), n.subjects()))
	}
	if c.Mirror != nil || len(c.Sources) > 0 {
		why = append(why, "it copies other streams")
	}
	if c.Sealed || c.NoAck {
		why = append(why, "it is sealed, or acknowledges nothing")
	}
	if c.Discard != jetstream.DiscardNew {
		why = append(why, "it drops its oldest messages when it is full (discard must be new)")
	}
	if c.MaxMsgsPerSubject > 0 {
		why = append(why, "it keeps only some messages of each subject")
	}
	if c.Storage != jetstream.FileStorage {
		why = append(why, "it is kept in memory")
	}
	return strings.Join(why, "; ")
}

// open returns the stream of the topic, if it is fit.
func open(ctx context.Context, js jetstream.JetStream, n names) (jetstream.Stream, error) {
	ctx, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	stream, err := js.Stream(ctx, n.stream())
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", n.stream(), explain(err))
	}
	if why := n.unfit(stream.CachedInfo().Config); why != "" {
		return nil, fmt.Errorf("stream %s: %w: %s", n.stream(), ErrUnfit, why)
	}
	return stream, nil
}
