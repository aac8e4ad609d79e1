package subscription

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

type testKey struct{}

// TestTheContextOfAMessageIsLikeAnyOther holds what is made when it is asked for against what package context promises, for
// whoever asks before the end and for whoever asks behind it.
func TestTheContextOfAMessageIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	base := context.WithValue(t.Context(), testKey{}, "value")
	for _, early := range []bool{true, false} {
		d := &delivery{member: &member{base: base}}
		d.ctx.of = d
		var ctx context.Context = &d.ctx
		ask := func() (child context.Context, told chan struct{}) {
			child, cancel := context.WithTimeout(ctx, time.Hour)
			t.Cleanup(cancel)
			told = make(chan struct{})
			context.AfterFunc(child, func() { close(told) })
			return child, told
		}
		var child context.Context
		var told chan struct{}
		if early {
			if child, told = ask(); child.Err() != nil || ctx.Err() != nil || context.Cause(ctx) != nil {
				t.Error("the context has ended before its message")
			}
		}
		d.ctx.end(why)
		d.ctx.end(errors.New("late"))
		if !early {
			child, told = ask()
		}
		watchtest.Eventually(t, 30*time.Second, "a child ends too", func() bool {
			select {
			case <-told:
				return true
			default:
				return false
			}
		})
		for _, c := range []context.Context{ctx, child} {
			if c.Err() != context.Canceled || context.Cause(c) != why || in(c) != d || c.Value(testKey{}) != "value" {
				t.Errorf("asked early %t: %v, %v, value %v", early, c.Err(), context.Cause(c), c.Value(testKey{}))
			}
			<-c.Done()
		}
	}
}

// TestAnOfferThatNobodyTookIsTakenBackWithItsSlot offers a message to nobody, and gives its slot to another. Whoever receives
// afterwards must not get it: another process has it by then.
func TestAnOfferThatNobodyTookIsTakenBackWithItsSlot(t *testing.T) {
	t.Parallel()
	l, subscriptions := newLog(t)
	stream := newStream()
	all, err := l.Store.ReadAll(t.Context(), 0, write(t, l, stream, 1), eventstore.Filter{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *message.Message)
	m := subscriptions.newMember(t.Context(), documents("g"), Options{}, func(d *delivery) error { return d.send(out) })
	m.offers = true
	m.valid.set(time.Now().Add(time.Minute))
	s := grant{hold: hold{Slot: SlotOf(stream)}}.slot()
	m.slots[SlotOf(stream)] = s
	m.admit(0, all)
	offered := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.inHand)
	}
	watchtest.Eventually(t, 30*time.Second, "the message is offered", func() bool { return offered() == 1 })
	m.mu.Lock()
	m.lose(s)
	m.mu.Unlock()
	watchtest.Eventually(t, 30*time.Second, "it is taken back", func() bool { return offered() == 0 })
	m.laneWork.Wait()
}
