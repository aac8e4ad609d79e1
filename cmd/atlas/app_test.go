package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// served is the app as serve runs it, on a database and in a directory of the test's own.
type served struct {
	*app
	url  string
	spec *apitest.Spec
	keys *auth.Keys
	log  *watchtest.Output
}

func serveApp(t *testing.T) *served {
	t.Helper()
	cfg, err := loadConfig([]string{
		"ATLAS_DATABASE_URL=" + pgtest.NewDatabase(t), "ATLAS_DEV=1", "ATLAS_DATA_DIR=" + t.TempDir(),
		"ATLAS_LIMITS=*=1000000/1s, login.delay=off",
	})
	if err != nil {
		t.Fatal(err)
	}
	log := &watchtest.Output{}
	n, err := openNode(t.Context(), cfg, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	a, err := newApp(t.Context(), cfg, n)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	parts, ctx := errgroup.WithContext(ctx)
	for _, part := range a.parts {
		parts.Go(func() error { return part(ctx) })
	}
	t.Cleanup(func() {
		stop()
		if err := parts.Wait(); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	server := httptest.NewUnstartedServer(nil)
	server.Config = httpapi.Server("", a.api)
	server.Start()
	t.Cleanup(server.Close)
	seeds, err := cfg.signingSeeds()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.NewKeys(seeds[0])
	if err != nil {
		t.Fatal(err)
	}
	s := &served{app: a, url: server.URL, spec: apitest.ReadSpec(t, server.URL), keys: keys, log: log}
	s.awaitReady(t)
	return s
}

// awaitReady returns when the probe says that the app may get requests.
func (s *served) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var err error
	for ; ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		if err = s.ready(ctx); err == nil {
			return
		}
	}
	t.Fatalf("not ready: %v", err)
}

// do makes a call and returns the answer.
func (s *served) do(t *testing.T, call, body string, header http.Header) apitest.Answer {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return apitest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(text)}
}

// signIn signs somebody up and in, and returns the access token.
func (s *served) signIn(t *testing.T) string {
	t.Helper()
	s.must(t, 202, "POST /v1/auth/register", `{"email":"ann@example.com","password":"correct horse battery staple","name":"Ann"}`)
	var in struct {
		Token string `json:"access_token"`
	}
	s.must(t, 200, "POST /v1/auth/login", `{"email":"ann@example.com","password":"correct horse battery staple"}`).Decode(t, &in)
	return in.Token
}

func (s *served) must(t *testing.T, status int, call, body string) apitest.Answer {
	t.Helper()
	a := s.do(t, call, body, http.Header{"Content-Type": {"application/json"}})
	if a.Status != status {
		t.Fatalf("%s: got status %d, want %d: %s", call, a.Status, status, a.Body)
	}
	return a
}
