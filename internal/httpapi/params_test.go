package httpapi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

// listInput is every kind of parameter an operation may have.
type listInput struct {
	ID   uuid.UUID `path:"id"`
	Kind string    `query:"kind" enum:"a,b"`
	Name string    `query:"name" minLength:"2" maxLength:"3"`
	At   time.Time `query:"at"`
	Some []string  `query:"some,explode"`
	Flag bool      `query:"flag"`
	httpapi.Paging
	httpapi.ReadAfter
	IfMatch     httpapi.IfMatch     `header:"If-Match"`
	IfNoneMatch httpapi.IfNoneMatch `header:"If-None-Match"`
}

// seen is what the handler saw.
type seen struct{ Body string }

var listing = get("/v1/lists/{id}", func(_ context.Context, in *listInput) (*seen, error) {
	v, ok := in.IfMatch.Version()
	return &seen{fmt.Sprintf("%d %s|%d %v|%d %t %t|%v %s%s", in.Limit, in.Cursor, in.MinPosition, in.Wait(), v, ok, in.IfMatch.Exists(), in.Some, in.Kind, in.Name)}, nil
})

const listPath = "GET /v1/lists/0190c0de-0000-7000-8000-00000000000a"

func TestInvalidParameterIsNamed(t *testing.T) {
	t.Parallel()
	s := serve(t, listing)
	for name, c := range map[string]struct{ target, header, want string }{
		"path":              {"GET /v1/lists/7", "", "id invalid_format"},
		"number":            {listPath + "?limit=x", "", "limit wrong_type"},
		"fraction":          {listPath + "?limit=1.5", "", "limit wrong_type"},
		"too small":         {listPath + "?limit=0", "", "limit too_small"},
		"too large":         {listPath + "?limit=101", "", "limit too_large"},
		"enum":              {listPath + "?kind=c", "", "kind not_allowed"},
		"too short":         {listPath + "?name=ä", "", "name too_short"},
		"too long":          {listPath + "?name=abcd", "", "name too_long"},
		"time":              {listPath + "?at=monday", "", "at invalid_format"},
		"boolean":           {listPath + "?flag=maybe", "", "flag wrong_type"},
		"unknown":           {listPath + "?limt=5", "", "limt unknown_parameter"},
		"another case":      {listPath + "?Limit=5", "", "Limit unknown_parameter"},
		"twice":             {listPath + "?limit=5&limit=6", "", "limit repeated"},
		"NUL":               {listPath + "?name=%00a", "", "name invalid_text"},
		"NUL in the path":   {"GET /v1/lists/%00", "", "path invalid_text"},
		"not UTF-8":         {listPath + "?name=%ff", "", "name invalid_text"},
		"bad escape":        {listPath + "?name=%zz", "", " syntax"},
		"negative position": {listPath, "Atlas-Min-Position: -1", "Atlas-Min-Position too_small"},
		"position":          {listPath, "Atlas-Min-Position: 99999999999999999999", "Atlas-Min-Position wrong_type"},
		"weak tag":          {listPath, `If-Match: W/"3"`, "If-Match invalid_format"},
		"list":              {listPath, `If-Match: "3", "4"`, "If-Match invalid_format"},
		"no quotes":         {listPath, `If-Match: 3`, "If-Match invalid_format"},
		"half quoted":       {listPath, `If-Match: "3`, "If-Match invalid_format"},
		"zero":              {listPath, `If-Match: "0"`, "If-Match invalid_format"},
		"signed":            {listPath, `If-Match: "+3"`, "If-Match invalid_format"},
		"leading zero":      {listPath, `If-Match: "03"`, "If-Match invalid_format"},
		"no version":        {listPath, `If-Match: "abc"`, "If-Match invalid_format"},
		"empty":             {listPath, "If-Match: ", "If-Match invalid_format"},
		"junk":              {listPath, "If-None-Match: 3", "If-None-Match invalid_format"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var headers []string
			if c.header != "" {
				headers = append(headers, c.header)
			}
			p := s.call(t, c.target, "", headers...).problem(t, 400, "invalid_parameter")
			if diff := cmp.Diff([]string{c.want}, p.codes()); diff != "" {
				t.Error(diff)
			}
			if p.Errors[0].Message == "" {
				t.Error("no message")
			}
		})
	}
}

func TestRepeatedHeaderIsAList(t *testing.T) {
	t.Parallel()
	serve(t, listing).call(t, listPath, "", `If-Match: "3"`, `If-Match: "4"`).problem(t, 400, "invalid_parameter")
}

func TestParametersAreParsed(t *testing.T) {
	t.Parallel()
	s := serve(t, listing)
	for name, c := range map[string]struct{ query, header, want string }{
		"defaults":           {"", "X: y", "20 |0 2s|0 false false|[] "},
		"paging":             {"?cursor=abc&limit=100", "X: y", "100 abc|0 2s|0 false false|[] "},
		"position":           {"", "Atlas-Min-Position: 42", "20 |42 2s|0 false false|[] "},
		"wait":               {"", "Prefer: respond-async, wait=10", "20 |0 10s|0 false false|[] "},
		"no wait":            {"", "Prefer: wait=0", "20 |0 0s|0 false false|[] "},
		"quoted wait":        {"", `Prefer: Wait = "3"; x=y`, "20 |0 3s|0 false false|[] "},
		"long wait":          {"", "Prefer: wait=31", "20 |0 30s|0 false false|[] "},
		"absurd wait":        {"", "Prefer: wait=99999999999", "20 |0 2s|0 false false|[] "},
		"no preference":      {"", "Prefer: ", "20 |0 2s|0 false false|[] "},
		"junk wait":          {"", "Prefer: wait=soon", "20 |0 2s|0 false false|[] "},
		"version":            {"", `If-Match: "3"`, "20 |0 2s|3 true false|[] "},
		"any version":        {"", `If-Match: *`, "20 |0 2s|0 false true|[] "},
		"exploded list":      {"?some=a&some=b", "X: y", "20 |0 2s|0 false false|[a b] "},
		"code points":        {"?name=%F0%9F%A6%89%F0%9F%A6%89%F0%9F%A6%89", "X: y", "20 |0 2s|0 false false|[] 🦉🦉🦉"},
		"empty query values": {"?cursor=&kind=", "X: y", "20 |0 2s|0 false false|[] "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.call(t, listPath+c.query, "", c.header).want(t, 200)
			if got := strings.Trim(r.body, "\"\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMessageOfAParameterSaysTheRule(t *testing.T) {
	t.Parallel()
	s := serve(t, listing)
	for target, want := range map[string]string{
		listPath + "?limit=101": "must be at most 100",
		listPath + "?limit=x":   "must be a whole number",
		listPath + "?kind=c":    "must be one of a b",
		"GET /v1/lists/7":       "must have the format uuid",
	} {
		p := s.call(t, target, "").problem(t, 400, "invalid_parameter")
		if p.Errors[0].Message != want {
			t.Errorf("%s: got %q, want %q", target, p.Errors[0].Message, want)
		}
	}
}
