package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrDraining ends what this node holds open, since it is about to stop.
var ErrDraining = fault.New(fault.Unavailable, "draining", "this node is stopping; ask again, and another one answers")

// watchInterval is how often the credential of a held request is looked at again. It is a look at this node's memory.
const watchInterval = 250 * time.Millisecond

// Drain ends the requests that are held open, and all that come later, so that a server can be shut down without waiting
// for them. Other requests are not touched.
func (a *API) Drain() { a.drain() }

// Ended returns why a held request has to end: ErrDraining, or the fault by which its credential is refused by now. It is
// nil while ctx goes on, and where the caller hung up.
func Ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if _, _, is := fault.Of(cause); is {
		return cause
	}
	return nil
}

// hold returns the request with a context that ends as soon as its credential would be refused, or the node drains.
// Whoever sent the credential was let in already.
func (a *API) hold(op Operation, r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, end := context.WithCancelCause(r.Context())
	forget := context.AfterFunc(a.draining, func() { end(ErrDraining.RetryAfter(time.Second)) })
	if op.Access != Anyone {
		go a.watch(ctx, op, r.Header.Values("Authorization"), end)
	}
	return r.WithContext(ctx), func() {
		forget()
		end(nil)
	}
}

// watch shows the credential again and again until it is refused or ctx ends.
func (a *API) watch(ctx context.Context, op Operation, authorization []string, end context.CancelCauseFunc) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		token, err := bearer(authorization)
		if err != nil {
			end(err)
			return
		}
		p, err := a.authenticator.Authenticate(ctx, token)
		if err == nil {
			err = op.allows(p)
		}
		if err != nil {
			end(err)
			return
		}
	}
}

// because puts why a held request ended in the place of an error that only says that it did.
func because(ctx context.Context, err error) error {
	if why := Ended(ctx); why != nil && errors.Is(err, context.Canceled) {
		return why
	}
	return err
}
