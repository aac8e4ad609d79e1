package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

func TestMalformedJSONIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	for name, c := range map[string]struct{ body, want string }{
		"cut short":             {`{"title":`, "/title syntax"},
		"second value":          {`{"title":"a","body":""} {}`, " syntax"},
		"trailing comma":        {`{"title":"a",}`, " syntax"},
		"missing comma":         {`{"title":"a" "body":""}`, " syntax"},
		"leading comma":         {`{,"title":"a"}`, " syntax"},
		"bare name":             {`{title:"a"}`, " syntax"},
		"comment":               {`{/**/}`, " syntax"},
		"byte order mark":       {"\ufeff{}", " syntax"},
		"leading zero":          {`{"count":01}`, " syntax"},
		"plus":                  {`{"count":+1}`, "/count syntax"},
		"bare point":            {`{"count":1.}`, "/count syntax"},
		"NaN":                   {`{"count":NaN}`, "/count syntax"},
		"raw newline":           {"{\"title\":\"a\nb\"}", "/title syntax"},
		"unknown escape":        {`{"title":"\x"}`, "/title syntax"},
		"short escape":          {`{"title":"\u12"}`, "/title syntax"},
		"open string":           {`{"title":"a`, "/title syntax"},
		"invalid UTF-8":         {"{\"title\":\"\xff\"}", " invalid_text"},
		"encoded surrogate":     {"{\"title\":\"\xed\xa0\x80\"}", " invalid_text"},
		"duplicate name":        {`{"title":"a","title":"b"}`, "/title duplicate"},
		"escaped duplicate":     {`{"title":"a","\u0074itle":"b"}`, "/title duplicate"},
		"duplicate deep inside": {`{"inner":{"x":[{"a/b":1,"a/b":2}]}}`, "/inner/x/0/a~1b duplicate"},
		"too deep":              {strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat("/0", 32) + " too_deep"},
		"endless nesting":       {strings.Repeat("[", 100_000), strings.Repeat("/0", 32) + " too_deep"},
		"endless number":        {`{"count":` + strings.Repeat("1", 65) + `}`, "/count too_long"},
		"only space":            {"  ", " syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.call(t, "POST /v1/documents", c.body, asAnn).problem(t, 400, "malformed_json")
			if diff := cmp.Diff([]string{c.want}, p.codes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRuleBreakingFieldIsNamed(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"missing":             {`{}`, []string{"/title required", "/body required"}},
		"not an object":       {`[]`, []string{" wrong_type"}},
		"null body":           {`null`, []string{" wrong_type"}},
		"unknown":             {`{"title":"a","body":"","bodi":""}`, []string{"/bodi unknown_field"}},
		"another case":        {`{"Title":"a","body":""}`, []string{"/Title unknown_field", "/title required"}},
		"too short":           {`{"title":"","body":""}`, []string{"/title too_short"}},
		"too long":            {`{"title":"abcdef","body":""}`, []string{"/title too_long"}},
		"wrong type":          {`{"title":1,"body":true}`, []string{"/title wrong_type", "/body wrong_type"}},
		"null":                {`{"title":null,"body":""}`, []string{"/title wrong_type"}},
		"optional null":       {`{"title":"a","body":"","kind":null}`, []string{"/kind wrong_type"}},
		"null array":          {`{"title":"a","body":"","tags":null}`, []string{"/tags wrong_type"}},
		"item":                {`{"title":"a","body":"","tags":["ok","long"]}`, []string{"/tags/1 too_long"}},
		"items":               {`{"title":"a","body":"","tags":["a","b","c"]}`, []string{"/tags too_many"}},
		"negative":            {`{"title":"a","body":"","count":-1}`, []string{"/count too_small"}},
		"fraction":            {`{"title":"a","body":"","count":1.5}`, []string{"/count wrong_type"}},
		"overflow":            {`{"title":"a","body":"","count":9223372036854775808}`, []string{"/count out_of_range"}},
		"enum":                {`{"title":"a","body":"","kind":"poem"}`, []string{"/kind not_allowed"}},
		"format":              {`{"title":"a","body":"","owner":"no-address"}`, []string{"/owner invalid_format"}},
		"name with a dot":     {`{"title":"a","body":"","inner":{"deep.er":1}}`, []string{"/inner/deep.er wrong_type"}},
		"escaped NUL":         {`{"title":"a\u0000","body":""}`, []string{"/title invalid_text"}},
		"half a pair":         {`{"title":"\ud800","body":"\udc00x"}`, []string{"/title invalid_text", "/body invalid_text"}},
		"two high surrogates": {`{"title":"\ud800\ud800","body":""}`, []string{"/title invalid_text"}},
		"all at once":         {`{"title":"","x":1,"tags":[1]}`, []string{"/title too_short", "/x unknown_field", "/tags/0 wrong_type", "/body required"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.call(t, "POST /v1/documents", c.body, asAnn).problem(t, 422, "validation_failed")
			if diff := cmp.Diff(c.want, p.codes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBodyIsReadAsItWasSent(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	for name, body := range map[string]string{
		"five characters of four bytes": `{"title":"🦉🦉🦉🦉🦉","body":""}`,
		"no exact float":                `{"title":"a","body":"","count":9007199254740993}`,
		"largest integer":               `{"title":"a","body":"","count":9223372036854775807}`,
		"null where nullable":           `{"title":"a","body":"","inner":{"deep.er":""}}`,
		"address":                       `{"title":"a","body":"","owner":"ann@example.com"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r := s.call(t, "POST /v1/documents", body, asAnn).want(t, 201); r.body != body+"\n" {
				t.Errorf("got %s", r.body)
			}
		})
	}
	r := s.call(t, "POST /v1/documents", " {\"title\" : \"\\ud83e\\udd89\\n\\u0041\\/\" , \"body\":\"\", \"owner\":null}\r\n", asAnn).want(t, 201)
	if want := `{"title":"🦉\nA/","body":""}` + "\n"; r.body != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
}

func TestManyErrorsAreCut(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"x%d":"\u0000",`, i)
	}
	body := "{" + b.String() + `"title":"a","body":""}`
	p := serve(t, echo).call(t, "POST /v1/documents", body, asAnn).problem(t, 422, "validation_failed")
	if len(p.Errors) != 64 {
		t.Errorf("got %d errors", len(p.Errors))
	}
}

func TestMissingBodyIsMalformed(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	for _, h := range []string{"Content-Type: application/json", "X: y"} {
		p := s.call(t, "POST /v1/documents", "", asAnn, h).problem(t, 400, "malformed_json")
		if diff := cmp.Diff([]string{" required"}, p.codes()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOnlyPlainJSONIsTaken(t *testing.T) {
	t.Parallel()
	s := serve(t, echo)
	const body = `{"title":"a","body":""}`
	for _, header := range []string{
		"Content-Type: -", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/merge-patch+json",
		"Content-Type: application/json; charset=latin-1", "Content-Type: application/json; version=2", "Content-Type: ;",
		"Content-Encoding: gzip", "Content-Encoding: identity, br",
	} {
		s.call(t, "POST /v1/documents", body, asAnn, header).problem(t, 415, "unsupported_media_type")
	}
	for _, header := range []string{"Content-Type: application/json; charset=UTF-8", "Content-Type: Application/JSON", "Content-Encoding: identity"} {
		s.call(t, "POST /v1/documents", body, asAnn, header).want(t, 201)
	}
}

// sized adds POST /sized, which takes 100 bytes.
func sized(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{ID: "sized", Method: "POST", Path: "/sized", Access: httpapi.Anyone, MaxBody: 100},
		func(_ context.Context, in *struct{ Body string }) (*struct{ Body int }, error) {
			return &struct{ Body int }{len(in.Body)}, nil
		})
}

func TestBodyMayFillItsCapExactly(t *testing.T) {
	t.Parallel()
	s := serve(t, sized)
	if r := s.call(t, "POST /sized", `"`+strings.Repeat("a", 98)+`"`).want(t, 200); r.body != "98\n" {
		t.Errorf("got %s", r.body)
	}
	s.call(t, "POST /sized", `"`+strings.Repeat("a", 99)+`"`).problem(t, 413, "body_too_large")
}

func TestCapHoldsForChunkedBodies(t *testing.T) {
	t.Parallel()
	s := serve(t, sized)
	for n, status := range map[int]int{98: 200, 99: 413} {
		body := io.MultiReader(strings.NewReader(`"`+strings.Repeat("a", n)), strings.NewReader(`"`)) // of no known length
		r, _ := http.NewRequest("POST", s.url+"/sized", body)
		r.Header.Set("Content-Type", "application/json")
		s.send(t, r).want(t, status)
	}
}

func TestOperationWithoutBodyTakesNoneOrTheEmptyObject(t *testing.T) {
	t.Parallel()
	s := serve(t, guarded)
	s.call(t, "POST /anyone", "").want(t, 200)
	s.call(t, "POST /anyone", "", "Content-Type: application/x-www-form-urlencoded").want(t, 200)
	s.call(t, "POST /anyone", "{}").want(t, 200)
	s.call(t, "POST /anyone", `{"a":1}`).problem(t, 422, "validation_failed")
	s.call(t, "POST /anyone", `a=1`, "Content-Type: application/x-www-form-urlencoded").problem(t, 415, "unsupported_media_type")
}

func TestBodyThatEndsEarlyIsIncomplete(t *testing.T) {
	t.Parallel()
	s := serve(t, sized)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /sized HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n\"half")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") || !strings.Contains(string(answer), "incomplete_body") {
		t.Errorf("%v: %s", err, answer)
	}
}

func TestValuesAreNeverRepeated(t *testing.T) {
	t.Parallel()
	s := serve(t, func(api *httpapi.API) {
		echo(api)
		get("/v1/here/{id}", func(context.Context, *struct {
			ID      int             `path:"id"`
			Limit   int             `query:"limit" maximum:"3"`
			Kind    string          `query:"kind" enum:"a,b"`
			Mail    string          `query:"mail" format:"email"`
			IfMatch httpapi.IfMatch `header:"If-Match"`
		}) (*struct{}, error) {
			return nil, nil
		})(api)
	})
	const secret = "marked-secret"
	for _, r := range []reply{
		s.call(t, "POST /v1/documents", `{"title":"marked-secret`, asAnn),
		s.call(t, "POST /v1/documents", `"marked-secret"`, asAnn),
		s.call(t, "POST /v1/documents", `marked-secret`, asAnn),
		s.call(t, "POST /v1/documents", `{"title":"marked-secret","body":["marked-secret"],"kind":"marked-secret","owner":"marked-secret"}`, asAnn),
		s.call(t, "POST /v1/documents", `{"x":"marked-secret","x":"marked-secret"}`, asAnn),
		s.call(t, "POST /v1/documents", `{"body":"marked-secret\u0000"}`, asAnn),
		s.call(t, "POST /v1/documents", `{}`, asAnn, "Content-Type: text/marked-secret"),
		s.call(t, "POST /v1/documents", `{}`, "Authorization: Bearer marked-secret"),
		s.call(t, "POST /v1/documents", `{}`, asAnn, "Idempotency-Key: marked-secret "+"x"),
		s.call(t, "GET /v1/here/1?limit=marked-secret&kind=marked-secret&mail=marked-secret", ""),
		s.call(t, "GET /v1/here/1?unknown=marked-secret&limit=1&limit=marked-secret", ""),
		s.call(t, "GET /v1/here/1", "", "If-Match: marked-secret", "X-Request-ID: !marked-secret", "Traceparent: marked-secret"),
		s.call(t, "GET /v1/here/1", "", "Accept: marked-secret/x"),
	} {
		if r.status < 400 || strings.Contains(r.body, secret) || strings.Contains(fmt.Sprint(r.header), secret) {
			t.Errorf("status %d: %s %v", r.status, r.body, r.header)
		}
	}
	if log := s.log.String(); strings.Contains(log, secret) {
		t.Errorf("logged: %s", log)
	}
}

func TestNameTheCallerChoseIsBoundedAndEscaped(t *testing.T) {
	t.Parallel()
	name := `a/b~c\u001b\u202e` + strings.Repeat("x", 1000)
	p := serve(t, echo).call(t, "POST /v1/documents", `{"title":"a","body":"","`+name+`":1}`, asAnn).problem(t, 422, "validation_failed")
	want := "/a~1b~0c\ufffd\ufffd" + strings.Repeat("x", 57) + "…"
	if p.Errors[0].Pointer != want {
		t.Errorf("got %q, want %q", p.Errors[0].Pointer, want)
	}
}
