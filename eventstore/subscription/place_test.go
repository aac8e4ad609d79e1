package subscription

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

func TestAGroupStartsWhereItIsTold(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	write(t, l, stream, 2)
	third := write(t, l, stream, 2) - 1 // the position of that version
	for name, start := range map[string]Start{"beginning": Beginning(), "position": After(third), "now": Now()} {
		d := documents(name)
		d.Start = start
		if err := subscriptions.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	last := write(t, l, stream, 1)
	for name, want := range map[string][]int64{"beginning": {1, 2, 3, 4, 5}, "position": {4, 5}, "now": {5}} {
		var j journal
		consume(t, subscriptions, documents(name), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
			j.note(e)
			return nil
		})
		settled(t, subscriptions, name, last)
		if got := j.of(stream); !slices.Equal(got, want) {
			t.Errorf("from %s came %v, want %v", name, got, want)
		}
	}
}

func TestWhatCannotBeASubscriptionIsRefused(t *testing.T) {
	t.Parallel()
	_, subscriptions := newLog(t)
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	ahead := documents("ahead")
	ahead.Start = After(1000)
	for what, c := range map[string]struct {
		d    Definition
		want error
	}{
		"another filter":     {Definition{Name: "g", Filter: eventstore.Filter{Categories: []string{"user"}}}, ErrChanged},
		"a bad name":         {documents("No Name"), ErrDefinition},
		"an unknown type":    {Definition{Name: "x", Filter: eventstore.Filter{Types: []string{"document.sung"}}}, events.ErrUnknown},
		"a future position":  {ahead, eventstore.ErrFuture},
		"the same once more": {documents("g"), nil},
	} {
		if err := subscriptions.Create(t.Context(), c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	for what, err := range map[string]error{
		"show":   second(subscriptions.Show(t.Context(), "nobody")),
		"reset":  subscriptions.Reset(t.Context(), "nobody", Now(), false),
		"retry":  second(subscriptions.Retry(t.Context(), "nobody", Which{})),
		"delete": subscriptions.Delete(t.Context(), "nobody"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of what is not there: %v, want ErrNotFound", what, err)
		}
	}
}

// TestAResetGroupDoesNothingTwiceUnlessAskedTo resets a group that has done some, has one stream held, and had one message
// parked. A worker without replays is handed what it had not done, one with replays everything, and with effects both.
func TestAResetGroupDoesNothingTwiceUnlessAskedTo(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	done, held, fresh := newStream(), newStream(), newStream()
	for _, group := range []string{"mails", "views", "again"} {
		var down atomic.Bool
		down.Store(true)
		o := Options{Retry: Retry{First: time.Hour, Max: time.Hour, Attempts: -1}}
		stop := consume(t, subscriptions, documents(group), o, func(_ context.Context, e *eventstore.Recorded) error {
			if e.Stream == held && e.Version == 2 {
				return errors.New("503")
			}
			return nil
		})
		if group == "mails" {
			write(t, l, done, 3)
			write(t, l, held, 3)
		}
		eventually(t, "the rest is done", func() bool {
			s := mustShow(t, subscriptions, group)
			return s.Failing == 1 && s.Position >= 6
		})
		stop()
		if err := subscriptions.Reset(t.Context(), group, Beginning(), group == "again"); err != nil {
			t.Fatal(err)
		}
	}
	last := write(t, l, fresh, 2)
	for group, want := range map[string][3][]int64{
		"mails": {nil, {2, 3}, {1, 2}},
		"views": {{1, 2, 3}, {1, 2, 3}, {1, 2}},
		"again": {{1, 2, 3}, {1, 2, 3}, {1, 2}},
	} {
		var j, replays journal
		consume(t, subscriptions, documents(group), Options{Replays: group == "views"}, func(ctx context.Context, e *eventstore.Recorded) error {
			j.note(e)
			if IsReplay(ctx) {
				replays.note(e)
			}
			return nil
		})
		settled(t, subscriptions, group, last)
		for i, stream := range []eventstore.Stream{done, held, fresh} {
			if got := j.of(stream); !slices.Equal(got, want[i]) {
				t.Errorf("%s: of stream %d came %v, want %v", group, i, got, want[i])
			}
		}
		if n := map[string]int{"views": 4}[group]; replays.count() != n {
			t.Errorf("%s: %d were called replays, want %d", group, replays.count(), n)
		}
	}
}

// TestAGroupSetForwardLeavesOutWhatLiesBehind is what an operator does after an import.
func TestAGroupSetForwardLeavesOutWhatLiesBehind(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	write(t, l, stream, 5)
	if err := subscriptions.Reset(t.Context(), "g", Now(), false); err != nil {
		t.Fatal(err)
	}
	var j journal
	consume(t, subscriptions, documents("g"), Options{}, func(_ context.Context, e *eventstore.Recorded) error {
		j.note(e)
		return nil
	})
	settled(t, subscriptions, "g", write(t, l, stream, 1))
	if got := j.of(stream); !slices.Equal(got, []int64{6}) {
		t.Errorf("came %v, want version 6 alone", got)
	}
}

// TestAnEffectIsHadOnce has an effect in a transaction that fails, one that does not, and again.
func TestAnEffectIsHadOnce(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	if err := subscriptions.Create(t.Context(), documents("g")); err != nil {
		t.Fatal(err)
	}
	event, broken := uuid.New(), errors.New("broken")
	had := 0
	effect := func(fail error) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), l.Pool, func(tx pgx.Tx) error {
			first, err := Once(t.Context(), tx, "g", event)
			if err == nil && first && fail == nil {
				had++
			}
			return errors.Join(err, fail)
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
	}
	effect(broken)
	effect(nil)
	effect(nil)
	if had != 1 {
		t.Errorf("the effect was had %d times, want once", had)
	}
	if err := subscriptions.Reset(t.Context(), "g", Beginning(), true); err != nil {
		t.Fatal(err)
	}
	effect(nil)
	if had != 2 {
		t.Errorf("after a reset with effects it was had %d times in all, want twice", had)
	}
}

// TestMessagesComeBackAsTheyWentIn publishes payloads of all kinds, twice, as after an unknown outcome.
func TestMessagesComeBackAsTheyWentIn(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	publisher := NewPublisher(l.Store)
	correlation := uuid.New()
	want := map[string]string{}
	for _, payload := range []string{`{"paid": true}`, `"text"`, `7`, `null`, "", "x", "\x00\xff", `"\u0000"`, "{"} {
		msg := message.NewMessage(uuid.NewString(), message.Payload(payload))
		msg.Metadata.Set("colour", "blue")
		msg.Metadata.Set(MetaStream, "order-7")
		msg.Metadata.Set(MetaCorrelation, correlation.String())
		want[msg.UUID] = payload
		for range 2 {
			if err := publisher.Publish("orders", msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := NewSubscriber(subscriptions, SubscriberConfig{Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := s.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	stream := ""
	for range len(want) {
		msg := receive(t, messages)
		e := Event(msg.Context())
		if got := string(msg.Payload); got != want[msg.UUID] {
			t.Errorf("payload %q came back as %q", want[msg.UUID], got)
		}
		if msg.Metadata.Get("colour") != "blue" || msg.Metadata.Get(MetaStream) != "order-7" || e.Metadata.CorrelationID != correlation {
			t.Errorf("message has metadata %v and the event correlation %s", msg.Metadata, e.Metadata.CorrelationID)
		}
		if stream != "" && stream != e.Stream.String() {
			t.Errorf("messages of one stream lie in %s and %s", stream, e.Stream)
		}
		stream = e.Stream.String()
		delete(want, msg.UUID)
		msg.Ack()
	}
	if len(want) > 0 {
		t.Errorf("%d messages did not come", len(want))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Subscribe(t.Context(), "orders"); err == nil {
		t.Error("a closed subscriber subscribed")
	}
	if err := errors.Join(publisher.Close(), publisher.Close()); err != nil {
		t.Error(err)
	}
	if err := publisher.Publish("orders", message.NewMessage("1", nil)); err == nil {
		t.Error("a closed publisher published")
	}
}
