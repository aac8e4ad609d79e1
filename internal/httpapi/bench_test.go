package httpapi_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

const benchBody = `{"title":"Plan","body":"ship it","tags":["a","b"],"count":3}`

// BenchmarkOperation is a write through all steps; BenchmarkBareHandler is the least a handler must do for it.
func BenchmarkOperation(b *testing.B) {
	api := httpapi.New(httpapi.Config{Title: "t", Version: "1", Authenticator: tokens{}, Logger: slog.New(slog.DiscardHandler)})
	echo(api)
	benchmark(b, api, 201)
}

func BenchmarkBareHandler(b *testing.B) {
	router := mux.NewRouter()
	router.HandleFunc("/v1/documents", func(w http.ResponseWriter, r *http.Request) {
		p, err := tokens{}.Authenticate(context.Background(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		var d document
		if err == nil && p.User == ann {
			err = json.NewDecoder(r.Body).Decode(&d)
		}
		if err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(201)
		_ = json.NewEncoder(w).Encode(d)
	}).Methods("POST")
	benchmark(b, router, 201)
}

func benchmark(b *testing.B, h http.Handler, status int) {
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/documents", strings.NewReader(benchBody))
		r.Header.Set("Authorization", "Bearer ann")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			b.Fatal(w.Code, w.Body)
		}
	}
}
