package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// ids adds GET /v1/ids, which answers with what its context says.
var ids = get("/v1/ids", func(ctx context.Context, _ *struct{}) (*struct{ Body []string }, error) {
	return &struct{ Body []string }{[]string{httpapi.RequestID(ctx), httpapi.Traceparent(ctx)}}, nil
})

func TestHarmlessRequestIDIsKept(t *testing.T) {
	t.Parallel()
	r := serve(t, ids).call(t, "GET /v1/ids", "", "X-Request-ID: My.id_-12").want(t, 200)
	if r.header.Get("X-Request-ID") != "My.id_-12" || !strings.Contains(r.body, `"My.id_-12"`) {
		t.Errorf("got %v %s", r.header, r.body)
	}
}

func TestOtherRequestIDIsReplaced(t *testing.T) {
	t.Parallel()
	s := serve(t, ids)
	v7 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	for _, sent := range []string{"", "short12", strings.Repeat("x", 65), "with space", "ünïcödé-id", "new%0aline"} {
		r := s.call(t, "GET /v1/ids", "", "X-Request-ID: "+sent).want(t, 200)
		if got := r.header.Get("X-Request-ID"); !v7.MatchString(got) {
			t.Errorf("%q: got %q", sent, got)
		}
	}
}

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestValidTraceparentIsPassedOn(t *testing.T) {
	t.Parallel()
	r := serve(t, ids).call(t, "GET /v1/ids", "", "Traceparent: "+trace).want(t, 200)
	if r.header.Get("Traceparent") != trace || !strings.Contains(r.body, trace) {
		t.Errorf("got %v %s", r.header, r.body)
	}
}

func TestOtherTraceparentIsReplaced(t *testing.T) {
	t.Parallel()
	s := serve(t, ids)
	valid := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)
	for _, sent := range []string{
		"", "x", strings.ToUpper(trace), "ff" + trace[2:], trace + "-x", "00-" + strings.Repeat("0", 32) + trace[35:],
		trace[:36] + strings.Repeat("0", 16) + "-01", strings.Replace(trace, "b", "g", 1),
	} {
		got := s.call(t, "GET /v1/ids", "", "Traceparent: "+sent).want(t, 200).header.Get("Traceparent")
		if !valid.MatchString(got) || got == sent {
			t.Errorf("%q: got %q", sent, got)
		}
	}
}

func TestStandingHeadersAreOnEveryAnswer(t *testing.T) {
	t.Parallel()
	s := serveConfig(t, httpapi.Config{PublicURL: "https://api.example.com"}, ids)
	for target, cache := range map[string]string{"GET /v1/ids": "no-store", "GET /v1/none": "no-store", "GET /docs": ""} {
		h := s.call(t, target, "").header
		got := []string{h.Get("X-Content-Type-Options"), h.Get("Referrer-Policy"), h.Get("Strict-Transport-Security"), h.Get("Cache-Control")}
		if diff := cmp.Diff([]string{"nosniff", "no-referrer", "max-age=31536000", cache}, got); diff != "" {
			t.Errorf("%s: %s", target, diff)
		}
		if h.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: no content security policy", target)
		}
	}
}

func TestRequestIsOneLogLine(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		httpapi.Register(api, httpapi.Operation{ID: "a", Method: "POST", Path: "/v1/mail/{mail}", Access: httpapi.SignedIn},
			func(context.Context, *struct {
				Mail string `path:"mail"`
				Page int    `query:"page"`
				Body document
			}) (*struct{}, error) {
				return nil, errArchived
			})
	})
	r := s.call(t, "POST /v1/mail/ann@example.com?page=123456", `{"title":"title","body":"text"}`, asAnn, "X-Request-ID: request-1")
	r.problem(t, 409, "document_archived")

	var line map[string]any
	if err := json.Unmarshal([]byte(s.log.String()), &line); err != nil {
		t.Fatalf("not one line: %v: %s", err, s.log)
	}
	for _, varies := range []string{"time", "dur_ms", "traceparent"} {
		if _, ok := line[varies]; !ok {
			t.Errorf("no %s", varies)
		}
		delete(line, varies)
	}
	want := map[string]any{
		"level": "INFO", "msg": "request", "method": "POST", "route": "/v1/mail/{mail}", "status": 409.0, "bytes": float64(len(r.body)),
		"user_id": ann.String(), "code": "document_archived", "request_id": "request-1",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Error(diff)
	}
}

func TestLogOfTheContextCarriesTheRequestID(t *testing.T) {
	t.Parallel()
	log := &watchtest.Output{}
	logger := slog.New(httpapi.LogHandler(httpapi.LogHandler(slog.NewTextHandler(log, nil)))).With("a", 1)
	s := serve(t, get("/v1/log", func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		logger.InfoContext(ctx, "inside")
		return nil, nil
	}))
	s.call(t, "GET /v1/log", "", "X-Request-ID: request-1").want(t, 204)
	logger.Info("outside")
	inside, outside, _ := strings.Cut(strings.TrimSpace(log.String()), "\n")
	if strings.Count(inside, "request_id=request-1") != 1 || strings.Contains(outside, "request_id") {
		t.Errorf("got %s", log)
	}
}

// observations collects what an Observer is told.
type observations struct {
	mu  sync.Mutex
	all []string
}

func (o *observations) ObserveRequest(method, route string, status int, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, fmt.Sprint(method, " ", route, " ", status, " ", took > 0))
}

func TestObserverIsToldRoutesAndNotPaths(t *testing.T) {
	t.Parallel()
	o := &observations{}
	s := serveConfig(t, httpapi.Config{Observer: o}, listing)
	s.call(t, listPath, "")
	s.call(t, "GET /random/path", "")
	s.call(t, "BREW /random/pot", "")
	s.call(t, "GET /errors/internal", "")
	want := []string{"GET /v1/lists/{id} 200 true", "GET unmatched 404 true", "OTHER unmatched 404 true", "GET /errors/{code} 200 true"}
	o.mu.Lock()
	defer o.mu.Unlock()
	if diff := cmp.Diff(want, o.all); diff != "" {
		t.Error(diff)
	}
}

func TestStreamOutlivesTheReadTimeout(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	api := httpapi.New(httpapi.Config{Title: "t", Version: "1", Logger: slog.New(slog.DiscardHandler)})
	httpapi.Register(api, httpapi.Operation{
		ID: "stream", Method: "GET", Path: "/v1/stream", Access: httpapi.Anyone, Timeout: -1, Produces: []string{"text/event-stream"},
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body func(huma.Context) }, error) {
		return &struct{ Body func(huma.Context) }{func(c huma.Context) {
			c.SetHeader("Content-Type", "text/event-stream")
			fmt.Fprint(c.BodyWriter(), "data: 1\n\n")
			c.BodyWriter().(http.Flusher).Flush()
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
			case <-time.After(1200 * time.Millisecond):
				ended <- nil
			}
			fmt.Fprint(c.BodyWriter(), "data: 2\n\n")
		}}, nil
	})
	s := server{API: api, url: listen(t, api, time.Second), log: &watchtest.Output{}}
	r := s.call(t, "GET /v1/stream", "", "Accept: text/event-stream").want(t, 200)
	if err := <-ended; err != nil {
		t.Errorf("the stream was cancelled: %v", err)
	}
	if r.body != "data: 1\n\ndata: 2\n\n" || r.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %q %v", r.body, r.header)
	}
	s.call(t, "GET /v1/stream", "", "Accept: application/json").problem(t, 406, "not_acceptable")
}

func TestCallerThatHungUpIsNoError(t *testing.T) {
	t.Parallel()
	reached, left := make(chan bool), make(chan bool)
	s := serve(t, get("/v1/slow", func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		close(reached)
		<-ctx.Done()
		defer close(left)
		return nil, fmt.Errorf("load: %w", ctx.Err())
	}))
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/slow", nil)
	go func() { <-reached; cancel() }()
	if _, err := http.DefaultTransport.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	<-left
	s.eventually(t, `"status":499`)
	if strings.Contains(s.log.String(), "ERROR") {
		t.Errorf("logged as an error: %s", s.log)
	}
}

func TestManyAPIsLiveInOneProcess(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var b bytes.Buffer
			api := httpapi.New(httpapi.Config{Title: "t", Version: "1", Authenticator: tokens{}, Logger: slog.New(slog.NewTextHandler(&b, nil))})
			echo(api)
		})
	}
	group.Wait()
}
