package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
)

const password = "correct horse battery staple"

// client is one user of the API.
type client struct {
	http    *http.Client
	base    func() string
	access  string
	refresh string
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// problem is the code of an error, or "".
func (a answer) problem() string {
	var p struct {
		Code string `json:"code"`
	}
	json.Unmarshal(a.body, &p)
	return p.Code
}

// receipt is what a write answers with.
type receipt struct {
	ID       uuid.UUID `json:"id"`
	Version  int64     `json:"version"`
	Position int64     `json:"position"`
}

// document is what a read answers with.
type document struct {
	ID      uuid.UUID `json:"id"`
	Title   string    `json:"title"`
	Body    string    `json:"body"`
	Status  string    `json:"status"`
	Version int64     `json:"version"`
}

// content is what a document is written with.
type content struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

func newClient(base string) *client {
	return &client{http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}, base: func() string { return base }}
}

// signUp returns a client that is signed in as a new user.
func signUp(t testing.TB, base, email string) *client {
	t.Helper()
	c := newClient(base)
	c.must(t, http.StatusAccepted, "POST", "/v1/auth/register", map[string]string{"email": email, "password": password, "name": "Someone"})
	c.signIn(t, email, password)
	return c
}

func (c *client) signIn(t testing.TB, email, password string) {
	t.Helper()
	c.take(t, c.must(t, http.StatusOK, "POST", "/v1/auth/login", map[string]string{"email": email, "password": password}))
}

// take keeps the tokens that a sign-in or a refresh answered with.
func (c *client) take(t testing.TB, a answer) {
	t.Helper()
	var tokens struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	into(t, &tokens, a)
	c.access, c.refresh = tokens.AccessToken, tokens.RefreshToken
}

// at returns the same user at another node.
func (c *client) at(base string) *client {
	other := newClient(base)
	other.access, other.refresh = c.access, c.refresh
	return other
}

// do sends one request. Headers come in pairs.
func (c *client) do(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	r, err := c.request(ctx, method, path, body, headers)
	if err != nil {
		return answer{}, err
	}
	got, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, text}, err
}

func (c *client) request(ctx context.Context, method, path string, body any, headers []string) (*http.Request, error) {
	var text []byte
	switch body := body.(type) {
	case nil:
	case string: // as it is
		text = []byte(body)
	default:
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base()+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if text != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.access != "" {
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r, nil
}

// must sends one request, which must be answered with the status.
func (c *client) must(t testing.TB, want int, method, path string, body any, headers ...string) answer {
	t.Helper()
	got, err := c.do(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != want {
		t.Fatalf("%s %s: got %s, want %d", method, path, got, want)
	}
	return got
}

// into reads a JSON answer.
func into(t testing.TB, v any, a answer) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("answer %s: %v", a, err)
	}
}
