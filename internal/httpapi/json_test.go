package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
)

// FuzzParseJSON holds the strict reader against encoding/json: it accepts nothing that is not JSON, reads the same
// values, and refuses JSON only for the reasons it gives.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-0.5e+3,true,null,"\ud83e\udd89\n"],"b":{}}`, `{"a":1,"a":2}`, `"\ud800"`, `"\u0000"`, `[[[]]]`, `1e999`, ` {} `, `{"a":1,}`, "\"\xff\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, bad, err := parseJSON(data)
		if err != nil {
			if reason := codeOfFirst(err); reason == codeSyntax && json.Valid(data) {
				t.Errorf("%q is JSON", data)
			}
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("%q is not JSON", data)
		}
		if len(bad) > 0 {
			return
		}
		var want any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, plain(value)); diff != "" {
			t.Error(diff)
		}
	})
}

func codeOfFirst(err error) string {
	var o *fault.Occurrence
	if !errors.As(err, &o) || len(o.Fields()) != 1 {
		return ""
	}
	return o.Fields()[0].Code
}

// plain turns objects into maps, as encoding/json reads them.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := map[string]any{}
		for _, member := range v {
			m[member.name] = plain(member.value)
		}
		return m
	case []any:
		all := make([]any, len(v))
		for i, item := range v {
			all[i] = plain(item)
		}
		return all
	default:
		return v
	}
}

// FuzzEntityTags holds the readers of conditional headers to never panic, and what they accept to match itself.
func FuzzEntityTags(f *testing.F) {
	f.Add(`"3"`)
	f.Add(`W/"a", "b"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, s string) {
		var m IfMatch
		if m.UnmarshalText([]byte(s)) == nil {
			if v, ok := m.Version(); ok == m.Exists() || ok && v < 1 {
				t.Errorf("%q: %d %t", s, v, ok)
			}
		}
		var n IfNoneMatch
		if n.UnmarshalText([]byte(s)) == nil {
			for _, tag := range n.tags {
				if !n.Matches(tag) {
					t.Errorf("%q does not match its own %q", s, tag)
				}
			}
		}
	})
}
