package httpapi

import (
	"net/http"
	"time"
)

// Server returns a server with the limits that a public listener needs. It has no write timeout, because streams live
// as long as their reader; an operation's Timeout bounds the others. ReadTimeout is for reading the request: an operation
// lifts it once the body is read.
func Server(addr string, h http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20, // so that a token of any size gets a problem with a code; Go's server has none for 431
	}
}
