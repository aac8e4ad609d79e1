package httpapi

import (
	"errors"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// ETag returns the entity tag of a version: "3", quotes included.
func ETag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// IfMatch is the precondition of a write. Declare it in an operation's input as
//
//	IfMatch httpapi.IfMatch `header:"If-Match"`
//
// The zero value is a request without the header: no precondition.
type IfMatch struct {
	version int64
	any     bool
}

var errIfMatch = errors.New("not one version")

// UnmarshalText reads one strong entity tag or *. Weak tags never match a write (RFC 9110) and a list has no meaning
// where there is one current version, so both are refused rather than ignored.
func (m *IfMatch) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if s == "*" {
		*m = IfMatch{any: true}
		return nil
	}
	digits, quoted := strings.CutPrefix(s, `"`)
	digits, closed := strings.CutSuffix(digits, `"`)
	v, err := strconv.ParseInt(digits, 10, 64)
	if !quoted || !closed || err != nil || v < 1 || strconv.FormatInt(v, 10) != digits {
		return errIfMatch
	}
	*m = IfMatch{version: v}
	return nil
}

// Version returns the version the write insists on; ok is false when it insists on none.
func (m IfMatch) Version() (v int64, ok bool) { return m.version, m.version != 0 }

// Exists says whether the write insists on any version at all: If-Match: *.
func (m IfMatch) Exists() bool { return m.any }

// Schema tells the docs what is accepted.
func (IfMatch) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:               huma.TypeString,
		Description:        "Write only if this is the current version: its ETag, or * for any.",
		PatternDescription: `one version in double quotes, such as "3", or *`,
		Examples:           []any{`"3"`},
	}
}

// IfNoneMatch is what the caller of a GET already holds. A GET that sets ETag is answered 304 without any of this when
// the tag matches; declare
//
//	IfNoneMatch httpapi.IfNoneMatch `header:"If-None-Match"`
//
// to have it in the docs, and to save the work of making an answer that nobody needs.
type IfNoneMatch struct {
	any  bool
	tags []string
}

var errIfNoneMatch = errors.New("not a list of entity tags")

// UnmarshalText reads * or a list of entity tags.
func (m *IfNoneMatch) UnmarshalText(text []byte) error {
	*m = IfNoneMatch{}
	rest := strings.TrimSpace(string(text))
	if rest == "*" {
		m.any = true
		return nil
	}
	for rest != "" {
		rest = strings.TrimPrefix(rest, "W/")
		end := strings.Index(strings.TrimPrefix(rest, `"`), `"`)
		if !strings.HasPrefix(rest, `"`) || end < 0 {
			return errIfNoneMatch
		}
		m.tags = append(m.tags, rest[:end+2])
		rest = strings.TrimSpace(rest[end+2:])
		if rest != "" && rest[0] != ',' {
			return errIfNoneMatch
		}
		rest = strings.TrimLeft(rest, ", \t")
	}
	return nil
}

// Matches says whether the caller holds the answer with this entity tag, by weak comparison.
func (m IfNoneMatch) Matches(etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, t := range m.tags {
		if t == etag {
			return true
		}
	}
	return m.any
}

// Schema tells the docs what is accepted.
func (IfNoneMatch) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:               huma.TypeString,
		Description:        "Answer 304 if one of these is the current version.",
		PatternDescription: `a list of entity tags in double quotes, or *`,
		Examples:           []any{`"3"`},
	}
}
