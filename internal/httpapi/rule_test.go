package httpapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/httpapi"
)

// even is read from a string, by a rule that no schema knows.
type even string

func (e *even) UnmarshalText(text []byte) error {
	if len(text)%2 != 0 {
		return errors.New("odd: " + string(text))
	}
	*e = even(text)
	return nil
}

// ruled has a field for every rule.
type ruled struct {
	Set     []any             `json:"set,omitempty" uniqueItems:"true" minItems:"1"`
	Slug    string            `json:"slug,omitempty" pattern:"^[a-z]+$"`
	Hue     string            `json:"hue,omitempty" pattern:"^#" patternDescription:"a colour"`
	Over    float64           `json:"over,omitempty" exclusiveMinimum:"0" exclusiveMaximum:"1"`
	Under   float64           `json:"under,omitempty" maximum:"9"`
	Step    int               `json:"step,omitempty" multipleOf:"5"`
	Pick    int               `json:"pick,omitempty" enum:"1,2"`
	Small   int32             `json:"small,omitempty"`
	Byte    uint8             `json:"byte,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Any     any               `json:"any,omitempty"`
	ID      uuid.UUID         `json:"id,omitzero"`
	At      time.Time         `json:"at,omitzero"`
	Raw     []byte            `json:"raw,omitempty"`
	Even    even              `json:"even,omitempty"`
	Preset  string            `json:"preset,omitempty" default:"given"`
	private int
}

func rules(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{ID: "rules", Method: "POST", Path: "/v1/rules", Access: httpapi.Anyone},
		func(_ context.Context, in *struct{ Body ruled }) (*struct{ Body ruled }, error) {
			in.Body.private = 1
			return &struct{ Body ruled }{in.Body}, nil
		})
}

func TestRuleSpeaks(t *testing.T) {
	t.Parallel()
	s := serve(t, rules)
	for body, want := range map[string]field{
		`{"set":[1,{"a":1},1]}`:       {"/set", "not_unique", "must not hold an item twice"},
		`{"set":[]}`:                  {"/set", "too_few", "must have at least 1 items"},
		`{"slug":"A"}`:                {"/slug", "invalid_format", "must match ^[a-z]+$"},
		`{"hue":"A"}`:                 {"/hue", "invalid_format", "must be a colour"},
		`{"over":0}`:                  {"/over", "too_small", "must be more than 0"},
		`{"over":1.0}`:                {"/over", "too_large", "must be less than 1"},
		`{"over":"1"}`:                {"/over", "wrong_type", "must be a number"},
		`{"under":9.5}`:               {"/under", "too_large", "must be at most 9"},
		`{"under":1e999}`:             {"/under", "out_of_range", "the number is too large"},
		`{"step":7}`:                  {"/step", "invalid", "is not valid"},
		`{"pick":3}`:                  {"/pick", "not_allowed", "must be one of 1 2"},
		`{"small":2147483648}`:        {"/small", "out_of_range", "is out of the range of its type"},
		`{"byte":-1}`:                 {"/byte", "too_small", "must be at least 0"},
		`{"labels":{"a.b/c":1}}`:      {"/labels/a.b~1c", "wrong_type", "must be a string"},
		`{"labels":[]}`:               {"/labels", "wrong_type", "must be an object"},
		`{"set":{}}`:                  {"/set", "wrong_type", "must be an array"},
		`{"any":{"deep":["\u0000"]}}`: {"/any/deep/0", "invalid_text", `the text may not hold \u0000 or half a surrogate pair`},
		`{"id":"7"}`:                  {"/id", "invalid_format", "must have the format uuid"},
		`{"at":"monday"}`:             {"/at", "invalid_format", "must have the format date-time"},
		`{"raw":"?"}`:                 {"/raw", "invalid_format", "must be encoded as base64"},
		`{"even":"odd"}`:              {"", "invalid_format", "is not valid"}, // the schema allows it, the type does not
		`{"byte":256}`:                {"", "invalid_format", "is not valid"},
	} {
		p := s.call(t, "POST /v1/rules", body).problem(t, 422, "validation_failed")
		if diff := cmp.Diff([]field{want}, p.Errors); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestWhatKeepsTheRulesPasses(t *testing.T) {
	t.Parallel()
	s := serve(t, rules)
	for body, want := range map[string]string{
		`{"set":[1,"1",null]}`:          `{"set":[1,"1",null],"preset":"given"}`,
		`{"over":0.5,"step":10}`:        `{"over":0.5,"step":10,"preset":"given"}`,
		`{"small":-2147483648}`:         `{"small":-2147483648,"preset":"given"}`,
		`{"labels":{"A":"b","a":"c"}}`:  `{"labels":{"A":"b","a":"c"},"preset":"given"}`,
		`{"any":{"x":[true,null,1e3]}}`: `{"any":{"x":[true,null,1000]},"preset":"given"}`,
		`{"preset":"taken"}`:            `{"preset":"taken"}`,
		`{"even":"even","raw":"AAEC"}`:  `{"raw":"AAEC","even":"even","preset":"given"}`,
	} {
		if r := s.call(t, "POST /v1/rules", body).want(t, 200); r.body != want+"\n" {
			t.Errorf("%s: got %s", body, r.body)
		}
	}
}
