package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// failing adds GET /v1/fail, which fails with err.
func failing(err error) func(*httpapi.API) {
	return get("/v1/fail", func(context.Context, *struct{}) (*struct{}, error) { return nil, err })
}

func TestFaultBecomesProblem(t *testing.T) {
	t.Parallel()
	s := serve(t, failing(fmt.Errorf("archive document/7: %w", errArchived)))
	p := s.call(t, "GET /v1/fail", "").problem(t, 409, "document_archived")
	want := problem{
		Type: "/errors/document_archived", Title: "the document is archived", Status: 409, Detail: "the document is archived",
		Instance: "/v1/fail", Code: "document_archived", RequestID: p.RequestID,
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
}

func TestOccurrenceBringsItsOwnDetail(t *testing.T) {
	t.Parallel()
	p := serve(t, failing(errArchived.Because("archived on Monday"))).call(t, "GET /v1/fail", "").problem(t, 409, "document_archived")
	if p.Detail != "archived on Monday" || p.Title != "the document is archived" {
		t.Errorf("got %+v", p)
	}
}

func TestOccurrenceNamesItsFields(t *testing.T) {
	t.Parallel()
	err := httpapi.ErrValidation.At(fault.Field{Pointer: "/password", Code: "breached", Message: "was found in a breach"})
	p := serve(t, failing(err)).call(t, "GET /v1/fail", "").problem(t, 422, "validation_failed")
	if diff := cmp.Diff([]field{{"/password", "breached", "was found in a breach"}}, p.Errors); diff != "" {
		t.Error(diff)
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	r := serve(t, failing(httpapi.ErrBusy.RetryAfter(1200*time.Millisecond))).call(t, "GET /v1/fail", "")
	r.problem(t, 503, "busy")
	if got := r.header.Get("Retry-After"); got != "2" {
		t.Errorf("got %q, want 2", got)
	}
}

func TestInternalErrorIsLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	s := serve(t, failing(errors.New("append: marked-secret")))
	r := s.call(t, "GET /v1/fail", "")
	r.problem(t, 500, "internal")
	if strings.Contains(r.body, "marked-secret") {
		t.Errorf("told: %s", r.body)
	}
	if !strings.Contains(s.log.String(), "append: marked-secret") {
		t.Errorf("not logged: %s", s.log)
	}
}

func TestPanicIsInternal(t *testing.T) {
	t.Parallel()
	s := serve(t, get("/v1/fail", func(context.Context, *struct{}) (*struct{}, error) { panic("marked-secret") }))
	r := s.call(t, "GET /v1/fail", "")
	r.problem(t, 500, "internal")
	if strings.Contains(r.body, "marked-secret") {
		t.Errorf("told: %s", r.body)
	}
	if !strings.Contains(s.log.String(), "panic: marked-secret") || !strings.Contains(s.log.String(), "problem_test.go") {
		t.Errorf("value or stack not logged: %s", s.log)
	}
}

func TestPanicOfPlainRouteIsInternal(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		api.Handle("/livez", "GET", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") }))
	})
	s.call(t, "GET /livez", "").problem(t, 500, "internal")
}

func TestFailureAfterTheFirstByteCutsTheConnection(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		api.Handle("/half", "GET", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			panic("no")
		}))
	})
	r, _ := http.NewRequest("GET", s.url+"/half", nil)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err.Error() == "EOF" {
		t.Errorf("the answer looks whole: %v", err)
	}
}

func TestAnswerThatCannotBeEncodedIsInternal(t *testing.T) {
	t.Parallel()
	s := serve(t, get("/v1/fail", func(context.Context, *struct{}) (*struct{ Body any }, error) {
		return &struct{ Body any }{func() {}}, nil
	}))
	s.call(t, "GET /v1/fail", "").problem(t, 500, "internal")
}

func TestHandlerThatRunsOutOfTimeIsTimeout(t *testing.T) {
	t.Parallel()
	s := serveConfig(t, httpapi.Config{Timeout: time.Millisecond}, get("/v1/slow", func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("load: %w", ctx.Err())
	}))
	s.call(t, "GET /v1/slow", "").problem(t, 503, "timeout")
}

func TestUnknownPathIsNotFound(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	p := s.call(t, "GET /no/such?secret=1", "").problem(t, 404, "not_found")
	if p.Instance != "/no/such" {
		t.Errorf("instance: got %q", p.Instance)
	}
	s.call(t, "GET /v1//documents", "").problem(t, 404, "not_found")
}

func TestUnknownMethodNamesTheAllowedOnes(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		echo(api)
		api.Handle("/livez", "GET", http.NotFoundHandler())
	})
	for target, allow := range map[string]string{"POST /livez": "GET, HEAD", "GET /v1/documents": "POST", "OPTIONS /v1/documents": "POST"} {
		r := s.call(t, target, "")
		r.problem(t, 405, "method_not_allowed")
		if got := r.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow: got %q, want %q", target, got, allow)
		}
	}
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	s := serve(t, get("/v1/here", func(context.Context, *struct{}) (*created, error) {
		return &created{ETag: `"3"`, Body: document{Title: "Plan"}}, nil
	}))
	got, head := s.call(t, "GET /v1/here", ""), s.call(t, "HEAD /v1/here", "").want(t, 200)
	if head.body != "" || head.header.Get("ETag") != `"3"` || head.header.Get("Content-Length") != got.header.Get("Content-Length") {
		t.Errorf("got %v %q", head.header, head.body)
	}
	if r := s.call(t, "HEAD /no/such", "").want(t, 404); r.body != "" {
		t.Errorf("body: %q", r.body)
	}
}

func TestUnacceptableMediaTypeIsRefusedBeforeTheHandler(t *testing.T) {
	t.Parallel()
	called := false
	s := serve(t, get("/v1/here", func(context.Context, *struct{}) (*struct{ Body string }, error) {
		called = true
		return &struct{ Body string }{"x"}, nil
	}))
	for _, accept := range []string{"text/html", "json", "text/html, */*;q=0", "application/json;q=0, */*", "application/problem+json"} {
		s.call(t, "GET /v1/here", "", "Accept: "+accept).problem(t, 406, "not_acceptable")
	}
	if called {
		t.Error("the handler ran")
	}
	for _, accept := range []string{"*/*", "application/*", "text/html, application/json;q=0.1", "application/problem+json, application/json", "junk, application/json"} {
		r := s.call(t, "GET /v1/here", "", "Accept: "+accept).want(t, 200)
		if ct := r.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s: got %s", accept, ct)
		}
	}
}

func TestEveryKindHasItsStatus(t *testing.T) {
	t.Parallel()
	for kind, status := range map[fault.Kind]int{
		fault.BadRequest: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404, fault.MethodUnknown: 405,
		fault.NotAcceptable: 406, fault.Conflict: 409, fault.Gone: 410, fault.Stale: 412, fault.TooLarge: 413,
		fault.WrongMedia: 415, fault.Invalid: 422, fault.TooMany: 429, fault.Internal: 500, fault.Unavailable: 503,
	} {
		f := fault.New(kind, "a_code", "a sentence")
		serve(t, failing(f)).call(t, "GET /v1/fail", "").problem(t, status, "a_code")
	}
}
