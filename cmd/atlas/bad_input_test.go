package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

// marked is part of every value sent; no answer and no log may hold it.
const marked = "zzmarkedzz"

// badRequest is one call that must be refused. It is made from the OpenAPI document, so a new route is tested as soon as
// it is served.
type badRequest struct {
	what   string
	path   string
	header http.Header
	body   string

	status int
	code   string
	field  string // "pointer code" of one field, or ""
}

// with returns the request with another header; no value takes it away.
func (b badRequest) with(name string, values ...string) badRequest {
	b.header = b.header.Clone()
	b.header[http.CanonicalHeaderKey(name)] = values
	return b
}

// refused returns the request with what is wrong about it and what must come back.
func (b badRequest) refused(what string, status int, code, field string) badRequest {
	b.what, b.status, b.code, b.field = what, status, code, field
	return b
}

// operation is what bad requests are made from: the operation, and a request to it whose form is right.
type operation struct {
	apitest.Operation
	spec  *apitest.Spec
	right badRequest
}

func TestBadInputIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	s := serveApp(t)
	token := s.asAdmin(t, s.signIn(t)) // so that nothing is refused for want of a role
	service := s.serviceKey(t)
	before := s.end(t)
	for _, op := range s.spec.Operations {
		t.Run(op.ID, func(t *testing.T) {
			o := operation{Operation: op, spec: s.spec, right: badRequest{path: op.Path, header: http.Header{}}}
			o.right.path = strings.ReplaceAll(op.Path, "{id}", uuid.NewString())
			if strings.HasPrefix(op.Path, subscriptionPath) {
				o.right.path = strings.NewReplacer("{name}", "nosuch", "{id}", "1").Replace(op.Path)
			}
			if op.SignedIn {
				o.right = o.right.with("Authorization", "Bearer "+token)
			}
			if op.Access.Who == "service" {
				o.right = o.right.with("Authorization", "Bearer "+service)
			}
			if op.Body != nil {
				o.right.body = text(o.example(op.Body))
				if body, given := bodies()[op.ID]; given && strings.HasPrefix(op.Path, subscriptionPath) {
					o.right.body = body
				}
				o.right = o.right.with("Content-Type", "application/json")
			}
			for _, b := range slices.Concat(o.badTokens(s, token), o.badParameters(), o.badHeaders(), o.badBodies(), o.badFields()) {
				s.checkRefused(t, op, b)
			}
		})
	}
	if after := s.end(t); after != before {
		t.Errorf("the log went from %d to %d: something was appended, or tried to be", before, after)
	}
	for _, secret := range []string{marked, token, service, "horse", "ann@example.com"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%q was logged", secret)
		}
	}
}

// serviceKey returns an API key that acts for no user and may do all that such a key may.
func (s *served) serviceKey(t *testing.T) string {
	t.Helper()
	var a act
	_, secret := key(&a, uuid.Nil, s.api.Scopes()...)
	if _, err := s.node.store.Append(eventstore.WithMetadata(t.Context(), eventstore.Metadata{Actor: uuid.New()}), a.writes...); err != nil {
		t.Fatal(err)
	}
	return secret
}

// asAdmin returns a token like this one whose user is an admin.
func (s *served) asAdmin(t *testing.T, token string) string {
	t.Helper()
	tokens := auth.NewTokens(s.keys, "atlas", "atlas", time.Now)
	claims, err := tokens.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	claims.Roles = []string{"user", "admin"}
	admin, _, err := tokens.Issue(claims)
	if err != nil {
		t.Fatal(err)
	}
	return admin.Reveal()
}

func (s *served) end(t *testing.T) int64 {
	t.Helper()
	end, err := s.node.store.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// checkRefused makes the call and checks that it is refused as it should be, and repeats nothing of what was sent.
func (s *served) checkRefused(t *testing.T, op apitest.Operation, b badRequest) {
	t.Helper()
	a := s.do(t, op.Method+" "+b.path, b.body, b.header)
	var problem struct {
		Status         int
		Code, Instance string
		RequestID      string `json:"request_id"`
		Errors         []struct{ Pointer, Code string }
	}
	if err := json.Unmarshal([]byte(a.Body), &problem); err != nil {
		t.Errorf("%s: %v: %d %q", b.what, err, a.Status, a.Body)
		return
	}
	if a.Status != b.status || problem.Status != b.status || problem.Code != b.code || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d %q, want %d %q: %s", b.what, a.Status, problem.Code, b.status, b.code, a.Body)
	}
	named := b.field == ""
	for _, f := range problem.Errors {
		named = named || f.Pointer+" "+f.Code == b.field
	}
	if !named {
		t.Errorf("%s: no field %q: %s", b.what, b.field, a.Body)
	}
	for _, undeclared := range s.spec.Check(op, a) {
		t.Errorf("%s: openapi.json: %s", b.what, undeclared)
	}
	said := strings.Replace(a.Body, `"instance":"`+problem.Instance+`"`, "", 1) // which is the path, and says so
	if said += fmt.Sprint(a.Header); strings.Contains(said, marked) || problem.RequestID == "" {
		t.Errorf("%s: repeats what was sent, or has no request id: %s", b.what, said)
	}
}

// badTokens is everything short of a valid token. Who may come without one is not asked.
func (o operation) badTokens(s *served, token string) (all []badRequest) {
	if !o.SignedIn {
		return nil
	}
	expired := issue(s, time.Now().Add(-time.Hour))
	for what, c := range map[string]struct {
		values []string
		code   string
	}{
		"no token":           {nil, "unauthenticated"},
		"an empty token":     {[]string{"Bearer "}, "unauthenticated"},
		"two tokens":         {[]string{"Bearer " + token, "Bearer " + token}, "unauthenticated"},
		"another scheme":     {[]string{"Basic " + marked}, "unauthenticated"},
		"junk for a token":   {[]string{"Bearer " + marked}, "token_invalid"},
		"a forged token":     {[]string{"Bearer " + token[:len(token)-5] + "AAAAA"}, "token_invalid"},
		"an unsigned token":  {[]string{"Bearer eyJhbGciOiJub25lIn0." + strings.Split(token, ".")[1] + "."}, "token_invalid"},
		"an expired token":   {[]string{"Bearer " + expired}, "token_expired"},
		"a token and a body": {[]string{"Bearer " + marked}, "token_invalid"},
	} {
		b := o.right.with("Authorization", c.values...)
		if what == "a token and a body" {
			b.body = "{" // a stranger is refused before a byte of it is read
		}
		all = append(all, b.refused(what, 401, c.code, ""))
	}
	return all
}

// issue returns a token that was issued at another time.
func issue(s *served, at time.Time) string {
	tokens := auth.NewTokens(s.keys, "atlas", "atlas", func() time.Time { return at })
	token, _, err := tokens.Issue(auth.Claims{User: uuid.New(), Session: uuid.New(), Epoch: 1, AuthTime: at})
	if err != nil {
		panic(err) // it has a user, a session and a time
	}
	return token.Reveal()
}

// badParameters breaks what stands in the path and the query.
func (o operation) badParameters() (all []badRequest) {
	refuse := func(what, path, field string) {
		b := o.right
		b.path = path
		all = append(all, b.refused(what, 400, "invalid_parameter", field))
	}
	path := o.right.path
	refuse("an unknown parameter", path+"?nosuch="+marked, "nosuch unknown_parameter")
	refuse("a query that is none", path+"?a=%zz"+marked, " syntax")
	for _, p := range o.Parameters {
		switch p.In {
		case "path":
			for _, junk := range []string{marked, "7", "%20", "00000000-0000-0000-0000-00000000000g", "..;", strings.Repeat("a", 2000)} {
				what, at := "path "+junk[:min(20, len(junk))], strings.ReplaceAll(o.Path, "{"+p.Name+"}", junk)
				if strings.HasPrefix(o.Path, "/v1/admin/projections/{name}") { // a name of any form, which nothing has
					b := o.right
					b.path = at
					all = append(all, b.refused(what, 404, "projection_unknown", ""))
					continue
				}
				switch form, _ := p.Schema["pattern"].(string); {
				case form != "" && regexp.MustCompile(form).MatchString(junk), p.Schema["type"] == "integer" && junk == "7": // nothing is wrong with it
				case p.Schema["type"] == "integer":
					refuse(what, at, p.Name+" wrong_type")
				default:
					refuse(what, at, p.Name+" invalid_format")
				}
			}
			refuse("NUL in the path", strings.ReplaceAll(o.Path, "{"+p.Name+"}", "%00"), "path invalid_text")
		case "query":
			query := path + "?" + p.Name + "="
			if !strings.Contains(fmt.Sprint(p.Schema["type"]), "array") { // or ["array", "null"]
				refuse(p.Name+" twice", query+"1&"+p.Name+"=2", p.Name+" repeated")
			}
			refuse(p.Name+" with NUL", query+"%00", p.Name+" invalid_text")
			refuse(p.Name+" not in UTF-8", query+"%ff", p.Name+" invalid_text")
			for value, code := range o.breaking(p.Schema) {
				refuse(p.Name+" "+code, query+value, p.Name+" "+code)
			}
		}
	}
	return all
}

// breaking returns texts that a parameter's schema refuses, with the codes they get.
func (o operation) breaking(schema apitest.Schema) map[string]string {
	bad := map[string]string{}
	if schema["type"] == "integer" {
		bad[marked], bad["1.5"], bad["99999999999999999999"] = "wrong_type", "wrong_type", "wrong_type"
	}
	if least, is := schema["minimum"].(float64); is {
		bad[fmt.Sprint(least-1)] = "too_small"
	}
	if most, is := schema["maximum"].(float64); is {
		bad[fmt.Sprint(most+1)] = "too_large"
	}
	if most, is := schema["maxLength"].(float64); is {
		bad[strings.Repeat("a", int(most)+1)] = "too_long"
	}
	switch {
	case schema["enum"] != nil:
		bad[marked] = "not_allowed"
	case schema["type"] == "string": // a form of its own: a cursor, a point of the past
		bad[marked] = "invalid_format"
	}
	return bad
}

// badHeaders breaks the headers that mean something.
func (o operation) badHeaders() (all []badRequest) {
	all = append(all, o.right.with("Accept", "text/"+marked).refused("nothing acceptable", 406, "not_acceptable", ""))
	refuse := func(name, value, code string) {
		b := o.right.with(name, value).refused(fmt.Sprintf("%s: %.20s", name, value), 400, "invalid_parameter", name+" "+code)
		all = append(all, b)
	}
	for _, p := range o.Parameters {
		switch {
		case p.In != "header" || p.Name == "Prefer": // a preference is never an error
		case p.Name == "Idempotency-Key":
			for _, junk := range []string{"", "a " + marked, "ä", strings.Repeat("a", 256)} {
				refuse(p.Name, junk, "invalid_format")
			}
		case p.Name == "Atlas-Min-Position":
			for value, code := range o.breaking(p.Schema) {
				refuse(p.Name, value, code)
			}
			all = append(all, o.right.with(p.Name, "9223372036854775807").refused("a future position", 400, "position_in_future", ""))
		default: // entity tags
			for _, junk := range []string{"", marked, `"` + marked, "1"} {
				refuse(p.Name, junk, "invalid_format")
			}
		}
	}
	return all
}

// badBodies breaks the body as a whole.
func (o operation) badBodies() (all []badRequest) {
	if o.Method == http.MethodGet {
		return nil // its body is not read
	}
	right := o.right.with("Content-Type", "application/json")
	if right.body == "" {
		right.body = "{}"
	}
	refuse := func(what, body string, status int, code, field string) {
		b := right
		b.body = body
		all = append(all, b.refused(what, status, code, field))
	}
	for _, broken := range []string{
		"{", `{"`, `{"a":`, `{"a":` + marked + `}`, `{"a":1,}`, `{a:1}`, `{'a':1}`, "nul", "[1,]", "01", "{} {}", "//\n{}", " ",
		`{"a":"` + marked, `{"a":"\x"}`, "{\"a\":\"\n\"}", "\xef\xbb\xbf{}", "{\"a\":\"\xff\"}", strings.Repeat("[", 1000),
		`{"a":` + strings.Repeat("1", 1000) + `}`,
	} {
		refuse(fmt.Sprintf("broken JSON %.20q", broken), broken, 400, "malformed_json", "")
	}
	refuse("a name twice", `{"`+marked+`a":1,"b":1,"b":2}`, 400, "malformed_json", "/b duplicate")
	for _, other := range []string{"[]", `"` + marked + `"`, "17", "true", "null"} {
		refuse("not an object: "+other, other, 422, "validation_failed", " wrong_type")
	}
	refuse("an unknown field", `{"nosuch":"`+marked+`"}`, 422, "validation_failed", "/nosuch unknown_field")
	for _, media := range [][]string{nil, {""}, {"text/plain"}, {"application/xml"}, {"application/json; charset=latin1"}, {"application/json", "application/json"}} {
		all = append(all, right.with("Content-Type", media...).refused(fmt.Sprintf("Content-Type %q", media), 415, "unsupported_media_type", ""))
	}
	all = append(all, right.with("Content-Encoding", "gzip").refused("a compressed body", 415, "unsupported_media_type", ""))
	tooLarge := right.with("Expect", "100-continue") // so that the answer comes before the body is sent, and not across it
	tooLarge.body = `{"` + marked + `":"` + strings.Repeat(" ", 8<<20) + `"}`
	return append(all, tooLarge.refused("too large", 413, "body_too_large", ""))
}

// badFields breaks each field of the body.
func (o operation) badFields() (all []badRequest) {
	if o.Body == nil {
		return nil
	}
	right, _ := o.example(o.Body).(map[string]any)
	refuse := func(what string, field string, value any, pointer string) {
		b, body := o.right, maps.Clone(right)
		if body[field] = value; value == nil && strings.HasSuffix(pointer, "required") {
			delete(body, field)
		}
		b.body = text(body)
		all = append(all, b.refused(field+" "+what, 422, "validation_failed", pointer))
	}
	required, _ := o.Body["required"].([]any)
	for _, name := range required {
		refuse("left out", name.(string), nil, "/"+name.(string)+" required")
	}
	properties, _ := o.Body["properties"].(map[string]any)
	for name := range properties {
		schema := o.spec.Property(o.Body, name)
		for _, wrong := range o.wrong(schema) {
			refuse(fmt.Sprintf("is %.20s", text(wrong)), name, wrong, "/"+name+" wrong_type")
		}
		if strings.ToUpper(name) != name {
			refuse("in capitals", strings.ToUpper(name), marked, "/"+strings.ToUpper(name)+" unknown_field")
		}
		if schema["items"] != nil {
			items := o.spec.Property(apitest.Schema{"properties": map[string]any{"items": schema["items"]}}, "items")
			for _, wrong := range o.wrong(items) {
				refuse(fmt.Sprintf("holds %.20s", text(wrong)), name, []any{wrong}, "/"+name+"/0 wrong_type")
			}
		}
		if schema["enum"] != nil {
			refuse("is not listed", name, marked, "/"+name+" not_allowed")
		}
		if most, is := schema["maxLength"].(float64); is {
			refuse("is too long", name, marked+strings.Repeat("a", int(most)), "/"+name+" too_long")
		}
		if least, is := schema["minLength"].(float64); is && least > 0 {
			refuse("is too short", name, "", "/"+name+" too_short")
		}
		if schema["type"] == "string" {
			refuse("holds NUL", name, marked+"\x00", "/"+name+" invalid_text")
		}
	}
	return all
}

// wrong returns values that are not of the schema's type.
func (o operation) wrong(schema apitest.Schema) (all []any) {
	types := fmt.Sprint(schema["type"])
	for name, value := range map[string]any{
		"string": marked, "number": 17.5, "boolean": true, "object": map[string]any{marked: 1}, "array": []any{marked}, "null": nil,
	} {
		if !strings.Contains(types, name) {
			all = append(all, value)
		}
	}
	return all
}

// example returns a value that the schema takes.
func (o operation) example(schema apitest.Schema) any {
	switch kind := fmt.Sprint(schema["type"]); {
	case schema["enum"] != nil:
		return schema["enum"].([]any)[0]
	case kind == "object":
		example := map[string]any{}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			example[name.(string)] = o.example(o.spec.Property(schema, name.(string)))
		}
		return example
	case strings.Contains(kind, "array"):
		return []any{}
	case kind == "integer", kind == "number":
		return 1
	case kind == "boolean":
		return true
	default:
		return "example"
	}
}

// text is a value as JSON.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it holds nothing but what JSON has
	}
	return string(b)
}
