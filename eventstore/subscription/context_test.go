package subscription

import (
	"context"
	"errors"
	"testing"
	"time"

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
