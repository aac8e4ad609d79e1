package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
)

// problemType is the media type of everything that fails (RFC 9457).
const problemType = "application/problem+json"

// problem is the body of everything that fails.
type problem struct {
	Type      string         `json:"type" doc:"The path of the page that explains the code" example:"/errors/not_found"`
	Title     string         `json:"title" doc:"What the code means, the same for every occurrence"`
	Status    int            `json:"status" doc:"The HTTP status"`
	Detail    string         `json:"detail" doc:"What happened this time"`
	Instance  string         `json:"instance" doc:"The path of the request"`
	Code      string         `json:"code" doc:"Stable; for programs" example:"not_found"`
	RequestID string         `json:"request_id" doc:"Also in X-Request-ID, and in our logs"`
	Errors    []problemField `json:"errors,omitempty" doc:"The parts of the input that broke a rule"`
}

// problemField is one part of the input that broke a rule.
type problemField struct {
	Pointer string `json:"pointer" doc:"A JSON pointer into the body, or a parameter's name" example:"/title"`
	Code    string `json:"code" doc:"Stable; for programs" example:"too_long"`
	Message string `json:"message" doc:"What the rule is"`
}

// Problem answers r with the problem that err is: the fault in its tree, or an internal error whose text only the log
// sees. It is for plain handlers; operations return their errors.
func Problem(w http.ResponseWriter, r *http.Request, err error) {
	c := callFrom(r.Context())
	c.fail(err)
	occurrence, declared := judge(err)
	c.code = declared.Code()
	status := Status(declared.Kind())

	problemHeaders(w.Header(), c, status, occurrence)
	w.WriteHeader(status)
	// The client may be gone; there is nobody left to tell.
	_ = encodeJSON(w, problemOf(r, c, status, occurrence, declared))
}

// judge finds the fault in err; what is none becomes one of ours.
func judge(err error) (*fault.Occurrence, *fault.Fault) {
	if o, f, ok := fault.Of(err); ok {
		return o, f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		o, f, _ := fault.Of(ErrTimeout)
		return o, f
	}
	o, f, _ := fault.Of(ErrInternal)
	return o, f
}

func problemHeaders(h http.Header, c *call, status int, o *fault.Occurrence) {
	for _, of := range []string{"ETag", "Last-Modified", "Location", "Content-Length", "Content-Encoding"} {
		h.Del(of) // they would speak of the answer that never came
	}
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	switch {
	case status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", challenge(c.tokenSent, c.code))
	case c.code == ErrScopeMissing.Code():
		h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="atlas", error="insufficient_scope", scope="%s"`, c.scope))
	}
	if d := o.RetryAfter(); d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Round(time.Millisecond).Seconds()))))
	}
}

// challenge says what is missing, as RFC 6750 and, for a sign-in that is too long ago, RFC 9470 write it.
func challenge(tokenSent bool, code string) string {
	switch {
	case code == auth.ErrStepUpRequired.Code():
		return fmt.Sprintf(`Bearer realm="atlas", error="insufficient_user_authentication", max_age="%d"`, int(auth.RecentSignIn.Seconds()))
	case tokenSent:
		return `Bearer realm="atlas", error="invalid_token"`
	}
	return `Bearer realm="atlas"`
}

func problemOf(r *http.Request, c *call, status int, o *fault.Occurrence, f *fault.Fault) problem {
	p := problem{
		Type:      "/errors/" + f.Code(),
		Title:     f.Sentence(),
		Status:    status,
		Detail:    o.Error(),
		Instance:  r.URL.EscapedPath(),
		Code:      f.Code(),
		RequestID: c.requestID,
	}
	if o.Error() == "" {
		p.Detail = f.Sentence()
	}
	for _, field := range o.Fields() {
		p.Errors = append(p.Errors, problemField(field))
	}
	return p
}

// encodeJSON writes v as JSON, without escaping HTML: nothing here is put into a page.
func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
