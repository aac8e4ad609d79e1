package apitest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Scenario is one call and what must come back.
type Scenario struct {
	Name    string            // a claim: "archive an active document"
	Call    string            // "POST /v1/documents/7/archive"
	As      string            // the bearer token; "" is nobody
	Body    string            // JSON; "" is none
	Headers map[string]string // besides those that As and Body imply

	Status int                          // must be the status
	Code   string                       // must be the problem's code; "" wants no problem
	Fields []string                     // must be the problem's fields, each "pointer code"; nil wants none
	Then   func(t *testing.T, a Answer) // looks at the rest; may be nil
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Decode reads the body into v.
func (a Answer) Decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
}

// Run runs the scenarios, each against a server of its own.
func Run(t *testing.T, newServer func(t *testing.T) http.Handler, scenarios ...Scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			ts := httptest.NewServer(newServer(t))
			t.Cleanup(ts.Close)
			s.Do(t, ts.URL)
		})
	}
}

// Do makes the call to the server at base, checks what comes back and returns it.
func (s Scenario) Do(t *testing.T, base string) Answer {
	t.Helper()
	a := s.Send(t, base)
	s.check(t, a)
	return a
}

// Send makes the call to the server at base and returns what comes back, unchecked.
func (s Scenario) Send(t *testing.T, base string) Answer {
	t.Helper()
	method, path, _ := strings.Cut(s.Call, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(s.Body))
	if err != nil {
		t.Fatal(err)
	}
	if s.Body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.As != "" {
		r.Header.Set("Authorization", "Bearer "+s.As)
	}
	for name, value := range s.Headers {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(body)}
}

func (s Scenario) check(t *testing.T, a Answer) {
	t.Helper()
	if a.Status != s.Status {
		t.Errorf("got status %d, want %d: %s", a.Status, s.Status, a.Body)
	}
	var code string
	var fields []string
	if a.Header.Get("Content-Type") == "application/problem+json" && !strings.HasPrefix(s.Call, "HEAD ") {
		code, fields = readProblem(t, a)
	}
	if code != s.Code {
		t.Errorf("got code %q, want %q: %s", code, s.Code, a.Body)
	}
	if diff := cmp.Diff(s.Fields, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if s.Then != nil {
		s.Then(t, a)
	}
}

// readProblem returns the code and fields of a problem, which must be complete.
func readProblem(t *testing.T, a Answer) (code string, fields []string) {
	t.Helper()
	var p struct {
		Type, Title, Detail, Instance, Code string
		Status                              int
		RequestID                           string `json:"request_id"`
		Errors                              []struct{ Pointer, Code, Message string }
	}
	a.Decode(t, &p)
	if p.Type != "/errors/"+p.Code || p.Title == "" || p.Detail == "" || p.Instance == "" || p.Status != a.Status ||
		p.RequestID == "" || p.RequestID != a.Header.Get("X-Request-ID") {
		t.Errorf("incomplete problem: %s", a.Body)
	}
	for _, f := range p.Errors {
		fields = append(fields, f.Pointer+" "+f.Code)
	}
	return p.Code, fields
}
