package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/internal/fault"
)

// checkParameters refuses what Huma would quietly pass over: parameters nobody declared, given twice, or holding text
// that PostgreSQL cannot hold. It returns the request with its query and headers in the plain form that Huma reads.
func (e *endpoint) checkParameters(r *http.Request) (*http.Request, error) {
	var bad []fault.Field
	refuse := func(name, code string) {
		if len(bad) < maxFields {
			bad = append(bad, fault.Field{Pointer: showName(name), Code: code, Message: sentence(code, nil)})
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse("", codeSyntax)
	}
	for name, values := range query {
		repeats, known := e.queries[name]
		switch {
		case !known:
			refuse(name, codeUnknownParam)
		case len(values) > 1 && !repeats:
			refuse(name, codeRepeated)
		case slices.ContainsFunc(values, unstorable):
			refuse(name, codeInvalidText)
		}
	}
	if unstorable(r.URL.Path) {
		refuse("path", codeInvalidText)
	}
	e.checkHeaders(r, refuse)
	if len(bad) > 0 {
		slices.SortFunc(bad, func(a, b fault.Field) int { return strings.Compare(a.Pointer, b.Pointer) })
		return nil, ErrInvalidParameter.At(bad...)
	}
	return e.plain(r, query), nil
}

// plain returns the request as Huma reads it: it looks for the first value of a header and for a query that is encoded
// the usual way. The edge's own request stays as it was.
func (e *endpoint) plain(r *http.Request, query url.Values) *http.Request {
	if r.URL.RawQuery != "" {
		u := *r.URL
		u.RawQuery = query.Encode()
		r = r.WithContext(r.Context())
		r.URL = &u
	}
	for _, name := range e.headers {
		if values := r.Header.Values(name); len(values) > 1 {
			r.Header.Set(name, strings.Join(values, ", ")) // one header, as RFC 9110 has it
		}
	}
	return r
}

// checkHeaders refuses a declared header that is there and empty: an If-Match that says nothing must not be taken for
// none. A preference that says nothing is none.
func (e *endpoint) checkHeaders(r *http.Request, refuse func(name, code string)) {
	for _, name := range e.headers {
		values := r.Header.Values(name)
		if len(values) > 0 && name != "Prefer" && strings.TrimSpace(strings.Join(values, "")) == "" {
			refuse(name, codeInvalidFormat)
		}
		if slices.ContainsFunc(values, unstorable) {
			refuse(name, codeInvalidText)
		}
	}
}

func unstorable(s string) bool { return !utf8.ValidString(s) || strings.ContainsRune(s, 0) }

// refusal turns Huma's error model into a fault. Only parameters get there: bodies are checked before Huma sees them,
// save that a field's own UnmarshalJSON may be stricter than its schema.
func refusal(op *huma.Operation, m *huma.ErrorModel) error {
	var params, body []fault.Field
	for _, d := range m.Errors {
		if d == nil {
			continue
		}
		in, name, _ := strings.Cut(d.Location, ".")
		if in == "body" {
			body = append(body, fault.Field{Code: codeInvalidFormat, Message: sentence(codeInvalidFormat, nil)})
			continue
		}
		params = append(params, parameterField(op, in, name, d.Message))
	}
	switch {
	case len(params) > 0:
		return ErrInvalidParameter.At(params...)
	case len(body) > 0:
		return ErrValidation.At(body...)
	default:
		return errFailed
	}
}

// parameterField names a parameter that Huma refused, with a code and a sentence of ours.
func parameterField(op *huma.Operation, in, name, message string) fault.Field {
	name, _, _ = strings.Cut(name, "[") // an item of a list
	var schema *huma.Schema
	for _, p := range op.Parameters {
		if p.In == in && p.Name == name {
			schema = p.Schema
		}
	}
	code := codeOf(message)
	return fault.Field{Pointer: name, Code: code, Message: sentence(code, schema)}
}

// codeOf recognises Huma's messages by how they begin, which is all it offers; a test holds the two together.
func codeOf(message string) string {
	for _, m := range []struct{ begins, code string }{
		{"required ", codeRequired},
		{"expected length >=", codeTooShort},
		{"expected length <=", codeTooLong},
		{"expected number >", codeTooSmall},
		{"expected number <", codeTooLarge},
		{"expected array length >=", codeTooFew},
		{"expected array length <=", codeTooMany},
		{"expected array items to be unique", codeNotUnique},
		{"expected value to be one of", codeNotAllowed},
		{"expected string to", codeInvalidFormat},
		{"expected duration", codeInvalidFormat},
		{"invalid value", codeInvalidFormat},
		{"invalid date/time", codeInvalidFormat},
		{"invalid integer", codeWrongType},
		{"invalid float", codeWrongType},
		{"invalid boolean", codeWrongType},
		{"expected number to be", codeInvalid},
		{"expected boolean", codeWrongType},
		{"expected number", codeWrongType},
		{"expected integer", codeWrongType},
		{"expected string", codeWrongType},
	} {
		if strings.HasPrefix(message, m.begins) {
			return m.code
		}
	}
	return codeInvalid
}
