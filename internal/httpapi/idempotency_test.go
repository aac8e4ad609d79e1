package httpapi_test

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

// replayable adds operations that answer with the idempotency their context holds: "key fingerprint", or "".
func replayable(api *httpapi.API) {
	type input struct {
		ID      string          `path:"id"`
		Q       string          `query:"q"`
		IfMatch httpapi.IfMatch `header:"If-Match"`
		Body    *document
	}
	answer := func(ctx context.Context, _ *input) (*seen, error) {
		i, ok := httpapi.IdempotencyFrom(ctx)
		if !ok {
			return &seen{}, nil
		}
		return &seen{i.Key + " " + hex.EncodeToString(i.Fingerprint[:])}, nil
	}
	for _, op := range []httpapi.Operation{
		{ID: "post", Method: "POST", Path: "/v1/docs/{id}", Access: httpapi.SignedIn},
		{ID: "put", Method: "PUT", Path: "/v1/docs/{id}", Access: httpapi.SignedIn},
		{ID: "admin", Method: "DELETE", Path: "/v1/docs/{id}", Access: httpapi.Admin},
		{ID: "anyone", Method: "POST", Path: "/v1/anyone/{id}", Access: httpapi.Anyone},
		{ID: "secret", Method: "POST", Path: "/v1/secret/{id}", Access: httpapi.SignedIn, NoReplay: true},
	} {
		httpapi.Register(api, op, answer)
	}
}

const key = "Idempotency-Key: key-1"

func TestFingerprintTellsRequestsApart(t *testing.T) {
	t.Parallel()
	s := serve(t, replayable)
	ask := func(target, body string, headers ...string) string {
		return s.call(t, target, body, append(headers, asRoot, key)...).want(t, 200).body
	}
	first := ask("POST /v1/docs/7", `{"title":"a","body":""}`)
	if first != ask("POST /v1/docs/7?q=another", `{"title":"a","body":""}`) {
		t.Error("the query counts")
	}
	if first != s.call(t, "POST /v1/docs/7", `{"title":"a","body":""}`, asAnn, key).body {
		t.Error("the principal counts")
	}
	seen := map[string]string{first: "first"}
	for name, other := range map[string]string{
		"path":     ask("POST /v1/docs/8", `{"title":"a","body":""}`),
		"escape":   ask("POST /v1/docs/%37", `{"title":"a","body":""}`),
		"method":   ask("PUT /v1/docs/7", `{"title":"a","body":""}`),
		"role":     ask("DELETE /v1/docs/7", `{"title":"a","body":""}`),
		"body":     ask("POST /v1/docs/7", `{"title":"b","body":""}`),
		"space":    ask("POST /v1/docs/7", `{"title":"a","body":"" }`),
		"no body":  ask("POST /v1/docs/7", ""),
		"If-Match": ask("POST /v1/docs/7", `{"title":"a","body":""}`, `If-Match: "1"`),
	} {
		if twin, taken := seen[other]; taken || other == "\"\"\n" {
			t.Errorf("%s is like %s: %s", name, twin, other)
		}
		seen[other] = name
	}
}

func TestKeyIsIgnoredWhereNothingIsReplayed(t *testing.T) {
	t.Parallel()
	s := serve(t, replayable)
	for _, target := range []string{"POST /v1/anyone/7", "POST /v1/secret/7"} {
		for _, key := range []string{key, "Idempotency-Key: not a key"} {
			if r := s.call(t, target, "", asAnn, key).want(t, 200); r.body != "\"\"\n" {
				t.Errorf("%s: got %s", target, r.body)
			}
		}
	}
	if r := s.call(t, "POST /v1/docs/7", "", asAnn).want(t, 200); r.body != "\"\"\n" {
		t.Errorf("without a key: got %s", r.body)
	}
}

func TestBadKeyIsInvalidParameter(t *testing.T) {
	t.Parallel()
	s := serve(t, replayable)
	for _, headers := range [][]string{
		{"Idempotency-Key: "}, {"Idempotency-Key: a b"}, {"Idempotency-Key: schlüssel"}, {"Idempotency-Key: " + strings.Repeat("x", 256)}, {key, key},
	} {
		p := s.call(t, "POST /v1/docs/7", "", append(headers, asAnn)...).problem(t, 400, "invalid_parameter")
		if diff := cmp.Diff([]string{"Idempotency-Key invalid_format"}, p.codes()); diff != "" {
			t.Error(diff)
		}
	}
	s.call(t, "POST /v1/docs/7", "", asAnn, "Idempotency-Key: "+strings.Repeat("~", 255)).want(t, 200)
}
