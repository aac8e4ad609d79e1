package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// revocable accepts every token until it is revoked.
type revocable struct{ revoked atomic.Bool }

func (r *revocable) Authenticate(context.Context, string) (auth.Principal, error) {
	if r.revoked.Load() {
		return auth.Principal{}, auth.ErrTokenRevoked
	}
	return auth.Principal{User: ann}, nil
}

// held serves GET /v1/poll, which waits for ever, and GET /v1/feed, which says one line first. Each tells when it waits.
func held(t *testing.T, authenticator httpapi.Authenticator) (s server, waits chan string) {
	t.Helper()
	waits = make(chan string, 2)
	s = serveWith(t, httpapi.Config{}, authenticator, func(api *httpapi.API) {
		httpapi.Register(api, httpapi.Operation{
			ID: "poll", Method: "GET", Path: "/v1/poll", Access: httpapi.SignedIn, Held: true,
		}, func(ctx context.Context, _ *struct{}) (*struct{ Body string }, error) {
			waits <- "poll"
			<-ctx.Done()
			return nil, fmt.Errorf("wait for messages: %w", ctx.Err())
		})
		httpapi.Register(api, httpapi.Operation{
			ID: "feed", Method: "GET", Path: "/v1/feed", Access: httpapi.SignedIn, Held: true, Produces: []string{"text/plain"},
		}, func(ctx context.Context, _ *struct{}) (*struct{ Body func(huma.Context) }, error) {
			return &struct{ Body func(huma.Context) }{func(c huma.Context) {
				fmt.Fprintln(c.BodyWriter(), "hello")
				c.BodyWriter().(http.Flusher).Flush()
				waits <- "feed"
				<-ctx.Done()
				fmt.Fprintln(c.BodyWriter(), httpapi.Ended(ctx))
			}}, nil
		})
	})
	return s, waits
}

// both sends the two requests, has something done while they wait, and returns their answers.
func both(t *testing.T, s server, waits chan string, meanwhile func()) (poll, feed reply) {
	t.Helper()
	polled, fed := make(chan reply, 1), make(chan reply, 1)
	go func() { polled <- s.call(t, "GET /v1/poll", "", asAnn) }()
	go func() { fed <- s.call(t, "GET /v1/feed", "", asAnn) }()
	<-waits
	<-waits
	meanwhile()
	limit := time.After(30 * time.Second)
	for range 2 {
		select {
		case poll = <-polled:
		case feed = <-fed:
		case <-limit:
			t.Fatal("still held")
		}
	}
	return poll, feed
}

func TestHeldRequestsEndWhenTheirCredentialIsRefused(t *testing.T) {
	t.Parallel()
	r := &revocable{}
	s, waits := held(t, r)
	poll, feed := both(t, s, waits, func() { r.revoked.Store(true) })
	poll.problem(t, 401, "token_revoked")
	if want := "hello\n" + auth.ErrTokenRevoked.Sentence() + "\n"; feed.body != want {
		t.Errorf("got %q, want %q", feed.body, want)
	}
}

func TestHeldRequestsEndWhenTheNodeDrains(t *testing.T) {
	t.Parallel()
	s, waits := held(t, &revocable{})
	poll, feed := both(t, s, waits, s.Drain)
	poll.problem(t, 503, "draining")
	if poll.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: got %q", poll.header.Get("Retry-After"))
	}
	if want := "hello\n" + httpapi.ErrDraining.Sentence() + "\n"; feed.body != want {
		t.Errorf("got %q, want %q", feed.body, want)
	}
	s.call(t, "GET /v1/poll", "", asAnn).problem(t, 503, "draining")
}

func TestAHeldRequestWhoseCallerHungUpIsNotEndedByAnybodyElse(t *testing.T) {
	t.Parallel()
	s, waits := held(t, &revocable{})
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/poll", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer ann")
	go func() {
		<-waits
		hangUp()
	}()
	if answer, err := http.DefaultTransport.RoundTrip(r); err == nil {
		answer.Body.Close()
		t.Error("it was answered")
	}
	s.eventually(t, `"status":499`)
}
