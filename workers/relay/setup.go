package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Wish is what Setup is asked for. What is nil is left as it is on a stream that is there, and is the default's on a new one.
type Wish struct {
	Replicas   *int
	MaxAge     *time.Duration
	MaxBytes   *int64
	MaxMsgs    *int64
	Duplicates *time.Duration
}

// apply returns the limits with the wishes fulfilled.
func (w Wish) apply(l Limits) Limits {
	set(&l.Replicas, w.Replicas)
	set(&l.MaxAge, w.MaxAge)
	set(&l.MaxBytes, w.MaxBytes)
	set(&l.MaxMsgs, w.MaxMsgs)
	set(&l.Duplicates, w.Duplicates)
	return l
}

func set[T any](value, wish *T) {
	if wish != nil {
		*value = *wish
	}
}

// Check says what is wrong with the wishes, as far as they tell by themselves.
func (w Wish) Check() error { return w.apply(DefaultLimits()).Check() }

// Done is what Setup did with a stream.
type Done string

// What Setup may have done.
const (
	Made    Done = "made"
	Changed Done = "changed"
	Kept    Done = "as it was"
)

// ErrWouldLose is what Setup answers where a limit would drop messages that are there.
var ErrWouldLose = errors.New("that would drop messages")

// Setup makes the stream of a topic, or changes the one that is there to what is wished. It may be repeated. It refuses what
// would lose messages: a stream that is unfit, which it does not touch, and a limit below what the stream holds.
func Setup(ctx context.Context, js jetstream.JetStream, prefix, topic string, w Wish) (Done, error) {
	n := names{prefix, topic}
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	stream, err := open(ctx, js, n)
	if errors.Is(err, ErrNoStream) {
		if _, err := js.CreateStream(ctx, n.config(w.apply(DefaultLimits()))); err != nil {
			return "", fmt.Errorf("make stream %s: %w", n.stream(), explain(err))
		}
		return Made, nil
	}
	if err != nil {
		return "", err
	}
	return change(ctx, js, stream.CachedInfo(), w)
}

// change brings a stream that is there to what is wished.
func change(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, w Wish) (Done, error) {
	c := info.Config
	before := Limits{Replicas: c.Replicas, MaxAge: c.MaxAge, MaxBytes: max(c.MaxBytes, 0), MaxMsgs: max(c.MaxMsgs, 0), Duplicates: c.Duplicates}
	after := w.apply(before)
	if after == before {
		return Kept, nil
	}
	if err := after.Check(); err != nil {
		return "", fmt.Errorf("stream %s: %w", c.Name, err)
	}
	if why := loses(info, before, after, time.Now()); why != "" {
		return "", fmt.Errorf("stream %s: %w: %s", c.Name, ErrWouldLose, why)
	}
	wanted := names{}.config(after)
	c.Replicas, c.MaxAge, c.MaxBytes, c.MaxMsgs, c.Duplicates = wanted.Replicas, wanted.MaxAge, wanted.MaxBytes, wanted.MaxMsgs, wanted.Duplicates
	if _, err := js.UpdateStream(ctx, c); err != nil {
		return "", fmt.Errorf("change stream %s: %w", c.Name, explain(err))
	}
	return Changed, nil
}

// loses says what a stream holds that it would not under other limits; "" if nothing.
func loses(info *jetstream.StreamInfo, before, after Limits, now time.Time) string {
	var why []string
	if after.MaxMsgs > 0 && uint64(after.MaxMsgs) < info.State.Msgs {
		why = append(why, fmt.Sprintf("it holds %d messages", info.State.Msgs))
	}
	if after.MaxBytes > 0 && uint64(after.MaxBytes) < info.State.Bytes {
		why = append(why, fmt.Sprintf("it holds %d bytes", info.State.Bytes))
	}
	oldest := now.Sub(info.State.FirstTime)
	if after.MaxAge > 0 && after.MaxAge != before.MaxAge && info.State.Msgs > 0 && oldest > after.MaxAge {
		why = append(why, fmt.Sprintf("its oldest message is %s old", oldest.Round(time.Second)))
	}
	return strings.Join(why, "; ")
}
