package apitest_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

type greeting struct {
	Body struct {
		Name string `json:"name" minLength:"1"`
	}
}

func newServer(*testing.T) http.Handler {
	api := httpapi.New(httpapi.Config{Title: "Greetings", Version: "1", Logger: slog.New(slog.DiscardHandler)})
	httpapi.Register(api, httpapi.Operation{ID: "greet", Method: "POST", Path: "/v1/greet", Access: httpapi.Anyone},
		func(_ context.Context, in *greeting) (*greeting, error) { return in, nil })
	return api
}

func TestGreeting(t *testing.T) {
	t.Parallel()
	apitest.Run(t, newServer,
		apitest.Scenario{
			Name: "greet by name", Call: "POST /v1/greet", Body: `{"name":"Ann"}`, Status: 200,
			Then: func(t *testing.T, a apitest.Answer) {
				var g struct{ Name string }
				if a.Decode(t, &g); g.Name != "Ann" {
					t.Errorf("got %q", g.Name)
				}
			},
		},
		apitest.Scenario{
			Name: "nobody is not greeted", Call: "POST /v1/greet", Body: `{"name":"","age":1}`,
			Status: 422, Code: "validation_failed", Fields: []string{"/name too_short", "/age unknown_field"},
		},
		apitest.Scenario{Name: "a greeting is not read", Call: "GET /v1/greet", Status: 405, Code: "method_not_allowed"},
	)
}
