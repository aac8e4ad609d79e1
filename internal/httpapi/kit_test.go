package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

var (
	errTokenInvalid = fault.New(fault.Unauthenticated, "token_invalid", "the access token is not valid")
	errArchived     = fault.New(fault.Conflict, "document_archived", "the document is archived")
)

// ann is a user; root is one with the admin role.
var (
	ann  = uuid.MustParse("0190c0de-0000-7000-8000-00000000000a")
	root = uuid.MustParse("0190c0de-0000-7000-8000-00000000000b")
	aKey = uuid.MustParse("0190c0de-0000-7000-8000-00000000000c")
)

// tokens knows tokens and API keys, named after who holds them and what they may do.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (auth.Principal, error) {
	user, admin := []string{"user"}, []string{"user", "admin"}
	p, known := map[string]auth.Principal{
		"ann":               {User: ann, Roles: user, AuthTime: time.Now()},
		"ann long ago":      {User: ann, Roles: user},
		"root":              {User: root, Roles: admin, AuthTime: time.Now()},
		"ann's key":         {User: ann, Key: aKey, Roles: user},
		"ann's notes:read":  {User: ann, Key: aKey, Roles: user, Scopes: []string{"notes:read"}},
		"ann's users:read":  {User: ann, Key: aKey, Roles: user, Scopes: []string{"users:read"}},
		"root's users:read": {User: root, Key: aKey, Roles: admin, Scopes: []string{"users:read"}},
		"a service":         {Key: aKey},
		"users:read":        {Key: aKey, Scopes: []string{"users:read"}},
		"events:read":       {Key: aKey, Scopes: []string{"events:read"}},
	}[token]
	if !known {
		return auth.Principal{}, errTokenInvalid
	}
	return p, nil
}

// document is the body the tests send and receive.
type document struct {
	Title string   `json:"title" minLength:"1" maxLength:"5"`
	Body  string   `json:"body"`
	Tags  []string `json:"tags,omitempty" maxItems:"2" maxLength:"3" nullable:"false"`
	Count int64    `json:"count,omitempty" minimum:"0"`
	Kind  string   `json:"kind,omitempty" enum:"note,plan"`
	Owner *string  `json:"owner,omitempty" format:"email" nullable:"true"`
	Inner *struct {
		Deep string `json:"deep.er"`
	} `json:"inner,omitempty"`
}

type created struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     document
}

// server is an API under test: its address, and what it logged.
type server struct {
	*httpapi.API
	url string
	log *watchtest.Output
}

// serve starts an API with the operations that routes adds.
func serve(t *testing.T, routes func(*httpapi.API)) server {
	t.Helper()
	return serveConfig(t, httpapi.Config{}, routes)
}

func serveConfig(t *testing.T, c httpapi.Config, routes func(*httpapi.API)) server {
	t.Helper()
	return serveWith(t, c, tokens{}, routes)
}

// serveWith starts an API that tells who calls in a way of the test's own.
func serveWith(t *testing.T, c httpapi.Config, who httpapi.Authenticator, routes func(*httpapi.API)) server {
	t.Helper()
	log := &watchtest.Output{}
	c.Title, c.Version = "Atlas", "1"
	c.Logger = slog.New(slog.NewJSONHandler(log, nil))
	c.Authenticator = who
	c.AuthErrors = []*fault.Fault{errTokenInvalid}
	c.StepUp, c.StepUpErrors = recently, []*fault.Fault{auth.ErrStepUpRequired}
	api := httpapi.New(c)
	if routes != nil {
		routes(api)
	}
	ts := httptest.NewUnstartedServer(api)
	ts.Config = httpapi.Server("", api)
	ts.Start()
	t.Cleanup(ts.Close)
	return server{api, ts.URL, log}
}

// echo adds POST /v1/documents, which answers with the body it was given.
func echo(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "create-document", Method: "POST", Path: "/v1/documents", Access: httpapi.SignedIn, Status: 201,
		Errors: []*fault.Fault{errArchived},
	}, func(_ context.Context, in *struct{ Body document }) (*created, error) {
		return &created{ETag: httpapi.ETag(1), Location: "/v1/documents/7", Body: in.Body}, nil
	})
}

// get adds GET path, answering with whatever the handler returns.
func get[I, O any](path string, handler func(context.Context, *I) (*O, error)) func(*httpapi.API) {
	return func(api *httpapi.API) {
		httpapi.Register(api, httpapi.Operation{ID: "get", Method: "GET", Path: path, Access: httpapi.Anyone}, handler)
	}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// problem is what the tests read of a problem.
type problem struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	Instance  string  `json:"instance"`
	Code      string  `json:"code"`
	RequestID string  `json:"request_id"`
	Errors    []field `json:"errors"`
}

type field struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// call sends "METHOD /path" with a body and headers given as "Name: value". A body brings its content type along unless
// a header names one.
func (s server) call(t *testing.T, target, body string, headers ...string) reply {
	t.Helper()
	method, path, _ := strings.Cut(target, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch {
		case value == "-":
			r.Header.Del(name)
		case name == "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	return s.send(t, r)
}

func (s server) send(t *testing.T, r *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// problem returns the problem that the reply must be.
func (r reply) problem(t *testing.T, status int, code string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("status %d, not JSON: %v: %q", r.status, err, r.body)
	}
	if r.status != status || p.Status != status || p.Code != code {
		t.Fatalf("got status %d, member %d, code %q; want %d %q: %s", r.status, p.Status, p.Code, status, code, r.body)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type: got %q", ct)
	}
	if p.RequestID == "" || p.RequestID != r.header.Get("X-Request-ID") || p.Title == "" || p.Detail == "" || p.Type != "/errors/"+code {
		t.Errorf("incomplete problem: %s", r.body)
	}
	return p
}

// codes returns what a problem says of each field, as "pointer code".
func (p problem) codes() []string {
	var all []string
	for _, f := range p.Errors {
		all = append(all, f.Pointer+" "+f.Code)
	}
	return all
}

func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("got status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

const asAnn, asRoot = "Authorization: Bearer ann", "Authorization: Bearer root"

// listen serves h with another read timeout and returns its address.
func listen(t *testing.T, h http.Handler, readTimeout time.Duration) string {
	t.Helper()
	ts := httptest.NewUnstartedServer(h)
	ts.Config = httpapi.Server("", h)
	ts.Config.ReadTimeout = readTimeout
	ts.Start()
	t.Cleanup(ts.Close)
	return ts.URL
}

// eventually waits until the log holds the text: the line is written after the caller has gone.
func (s server) eventually(t *testing.T, text string) {
	t.Helper()
	if !watchtest.Holds(30*time.Second, func() bool { return strings.Contains(s.log.String(), text) }) {
		t.Fatalf("never logged %s: %s", text, s.log)
	}
}
