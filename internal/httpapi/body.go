package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// bodyRule is what an operation takes as a body.
type bodyRule struct {
	ignored  bool // GET: a body means nothing and is not read
	required bool
	max      int64
	schema   *huma.Schema
	schemas  huma.Registry
}

// newBodyRule reads the rule off the declaration. An operation without a body takes none, or the empty object that some
// clients send whenever they POST.
func newBodyRule(op Operation, h *huma.Operation, api huma.API) bodyRule {
	b := bodyRule{
		ignored: !op.mutates(),
		max:     op.maxBody(),
		schemas: api.OpenAPI().Components.Schemas,
		schema:  &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false},
	}
	if h.RequestBody == nil {
		return b
	}
	content := h.RequestBody.Content[jsonType]
	if content == nil || b.ignored {
		panic("httpapi: operation " + op.ID + ": a body is JSON, in a POST, PUT, PATCH or DELETE")
	}
	b.schema, b.required = content.Schema, h.RequestBody.Required
	return b
}

// read reads the body and holds it against the rule. Huma, which only fills the struct from it, finds it in r again.
func (b bodyRule) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if b.ignored {
		liftReadDeadline(w)
		return nil, nil
	}
	body, err := b.readAll(w, r)
	if err != nil {
		return nil, err
	}
	liftReadDeadline(w)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 {
		if b.required {
			return nil, malformed(nil, codeRequired, "a body is required")
		}
		return body, nil
	}
	if !plainJSON(r.Header) {
		return nil, ErrUnsupportedMedia
	}
	r.Header.Set("Content-Type", jsonType) // as Huma spells it
	return body, b.check(body)
}

// readAll reads at most the operation's cap, and one byte more to see that there is more.
func (b bodyRule) readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > b.max {
		return nil, ErrBodyTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.max))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, ErrBodyTooLarge
	case err != nil:
		return nil, ErrIncompleteBody
	}
	return body, nil
}

// check says what is wrong with the body: all of it, if it is JSON at all.
func (b bodyRule) check(body []byte) error {
	value, bad, err := parseJSON(body)
	if err != nil {
		return err
	}
	c := checker{schemas: b.schemas}
	c.value(b.schema, value)
	if bad = append(bad, c.bad...); len(bad) > 0 {
		return ErrValidation.At(bad[:min(len(bad), maxFields)]...)
	}
	return nil
}

// plainJSON says whether the headers promise an uncompressed JSON body in UTF-8.
func plainJSON(h http.Header) bool {
	if e := strings.Join(h.Values("Content-Encoding"), ","); e != "" && !strings.EqualFold(e, "identity") {
		return false
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return false
	}
	name, params, err := mime.ParseMediaType(types[0])
	if err != nil || name != jsonType {
		return false
	}
	charset, given := params["charset"]
	return len(params) == 0 || given && len(params) == 1 && strings.EqualFold(charset, "utf-8")
}

// liftReadDeadline ends the server's ReadTimeout: from here on the time is the handler's. The server would otherwise take
// the expired deadline for a caller that hung up, and cancel streams.
func liftReadDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}
