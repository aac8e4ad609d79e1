package subscription

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// handContext is the context of a message in hand. A handler that does little asks it for nothing but the message; one of
// package context, which costs as much as all else about a message, is made when somebody asks for more. It is safe for
// concurrent use.
type handContext struct {
	of *delivery

	mu     sync.Mutex
	full   context.Context // once it was made
	cancel context.CancelCauseFunc
	over   bool
	why    error
}

// end ends the context, for a reason that context.Cause returns; the first one counts.
func (c *handContext) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over, c.why = true, why
	if c.full != nil {
		c.cancel(why)
	}
}

// whole returns the context that has it all.
func (c *handContext) whole() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full == nil {
		c.full, c.cancel = context.WithCancelCause(c.of.member.base)
		if c.over {
			c.cancel(c.why)
		}
	}
	return c.full
}

// Deadline returns none: a message's time may be extended.
func (c *handContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the context ends.
func (c *handContext) Done() <-chan struct{} { return c.whole().Done() }

// Err is context.Canceled once the context has ended.
func (c *handContext) Err() error {
	if c.reason() != nil {
		return context.Canceled
	}
	return nil
}

// reason is what context.Cause returns.
func (c *handContext) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return cmp.Or(c.why, context.Canceled)
	}
	return nil
}

// Value returns the message by the key of this package, and anything else as the context of the subscribing has it.
func (c *handContext) Value(key any) any {
	if key == (deliveryKey{}) {
		return c.of
	}
	return c.whole().Value(key)
}
