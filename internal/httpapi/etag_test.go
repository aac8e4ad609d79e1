package httpapi_test

import (
	"context"
	"testing"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

// versioned adds GET and POST of something at version 3.
func versioned(api *httpapi.API) {
	answer := func(context.Context, *struct{}) (*created, error) {
		return &created{ETag: httpapi.ETag(3), Body: document{Title: "Plan"}}, nil
	}
	for _, method := range []string{"GET", "POST"} {
		httpapi.Register(api, httpapi.Operation{ID: method, Method: method, Path: "/v1/thing", Access: httpapi.Anyone}, answer)
	}
}

func TestKnownVersionIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := serve(t, versioned)
	for _, known := range []string{`"3"`, `W/"3"`, `"1", W/"3" ,"x"`, `*`, `"a,b","3"`} {
		for _, method := range []string{"GET", "HEAD"} {
			r := s.call(t, method+" /v1/thing", "", "If-None-Match: "+known).want(t, 304)
			if r.body != "" || r.header.Get("ETag") != `"3"` || r.header.Get("Content-Type") != "" {
				t.Errorf("%s %s: got %q %v", method, known, r.body, r.header)
			}
		}
	}
}

func TestOtherVersionIsSent(t *testing.T) {
	t.Parallel()
	s := serve(t, versioned)
	for _, known := range []string{`"2"`, `"33"`, `""`, `3`} {
		s.call(t, "GET /v1/thing", "", "If-None-Match: "+known).want(t, 200)
	}
}

func TestWriteIsNeverNotModified(t *testing.T) {
	t.Parallel()
	serve(t, versioned).call(t, "POST /v1/thing", "", `If-None-Match: "3"`).want(t, 200)
}

func TestOutputMayChooseItsStatus(t *testing.T) {
	t.Parallel()
	type out struct {
		Status int
		Cache  string `header:"Cache-Control"`
		Body   string
	}
	s := serve(t, get("/v1/status/{n}", func(_ context.Context, in *struct {
		N int `path:"n"`
	}) (*out, error) {
		return &out{Status: in.N, Cache: "private, no-cache", Body: "x"}, nil
	}))
	for path, status := range map[string]int{"0": 200, "200": 200, "202": 202, "204": 204, "304": 304} {
		r := s.call(t, "GET /v1/status/"+path, "").want(t, status)
		if hasBody := r.body != ""; hasBody != (status < 204) {
			t.Errorf("%s: body %q", path, r.body)
		}
		if got := r.header.Get("Cache-Control"); got != "private, no-cache" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
}

func TestProblemForgetsTheHeadersOfTheAnswer(t *testing.T) {
	t.Parallel()
	type out struct {
		ETag string `header:"ETag"`
		Body any
	}
	s := serve(t, get("/v1/fail", func(context.Context, *struct{}) (*out, error) {
		return &out{ETag: `"3"`, Body: make(chan int)}, nil
	}))
	r := s.call(t, "GET /v1/fail", "")
	r.problem(t, 500, "internal")
	if r.header.Get("ETag") != "" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v", r.header)
	}
}
