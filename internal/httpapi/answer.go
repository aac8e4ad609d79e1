package httpapi

import (
	"net/http"
)

// answer is what Huma and the handler write to. It holds the status back until the first byte, so that a failure on the
// way can still become a problem; it drops everything once the call has failed; and it turns what the caller already has
// into 304.
type answer struct {
	http.ResponseWriter
	request *http.Request
	call    *call
	success int // the declared status of success
	status  int
	sent    bool
	empty   bool // the answer has no body
}

// WriteHeader remembers the status. Zero is what an output's Status field holds when the handler left it alone.
func (a *answer) WriteHeader(status int) {
	if status == 0 {
		status = a.success
	}
	if a.status == 0 {
		a.status = status
	}
}

// Write sends the status, once, and the bytes.
func (a *answer) Write(b []byte) (int, error) {
	if a.call.failure != nil {
		return len(b), nil
	}
	a.send()
	if a.empty {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

// Flush sends what was written so far, for streams.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError is Flush for http.ResponseController, which asks why it failed.
func (a *answer) FlushError() error {
	if a.call.failure != nil {
		return nil
	}
	a.send()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish sends the status of an answer without a body.
func (a *answer) finish() {
	if a.call.failure == nil {
		a.send()
	}
}

func (a *answer) send() {
	if a.sent {
		return
	}
	a.sent = true
	if a.status == 0 {
		a.status = a.success
	}
	if a.unchanged() {
		a.status = http.StatusNotModified
	}
	if a.status == http.StatusNotModified || a.status == http.StatusNoContent {
		a.empty = true
		a.Header().Del("Content-Type")
	}
	a.ResponseWriter.WriteHeader(a.status)
}

// unchanged says whether the caller already holds this very answer.
func (a *answer) unchanged() bool {
	m, etag := a.request.Method, a.Header().Get("ETag")
	if m != http.MethodGet && m != http.MethodHead || a.status != http.StatusOK || etag == "" {
		return false
	}
	var known IfNoneMatch
	if known.UnmarshalText([]byte(a.request.Header.Get("If-None-Match"))) != nil {
		return false
	}
	return known.Matches(etag)
}
