package httpapi

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-platform/atlas/internal/fault"
)

// checker holds a parsed body against its schema and names every field that breaks a rule. It is our own rather than
// Huma's because Huma names no codes, reports values, forgives the case of names, and joins paths so that a name with a
// dot in it cannot be told from two. Formats and patterns are left to Huma.
type checker struct {
	schemas huma.Registry
	at      pointer
	bad     []fault.Field
}

func (c *checker) refuse(code string, s *huma.Schema) {
	if len(c.bad) < maxFields {
		c.bad = append(c.bad, fault.Field{Pointer: c.at.String(), Code: code, Message: sentence(code, s)})
	}
}

// within runs a check one step further down.
func (c *checker) within(token string, check func()) {
	c.at = append(c.at, token)
	check()
	c.at = c.at[:len(c.at)-1]
}

// value checks one value. Null is only what the schema calls nullable.
func (c *checker) value(s *huma.Schema, v any) {
	for s.Ref != "" {
		s = c.schemas.SchemaFromRef(s.Ref)
	}
	if v == nil && (s.Nullable || s.Type == "") {
		return
	}
	ok := true
	switch s.Type {
	case huma.TypeObject:
		ok = typed(v, func(o object) { c.object(s, o) })
	case huma.TypeArray:
		ok = typed(v, func(items []any) { c.array(s, items) })
	case huma.TypeString:
		ok = typed(v, func(text string) { c.text(s, text) })
	case huma.TypeInteger, huma.TypeNumber:
		ok = typed(v, func(n json.Number) { c.number(s, n) })
	case huma.TypeBoolean:
		ok = typed(v, func(bool) {})
	}
	if !ok {
		c.refuse(codeWrongType, s)
	}
}

// typed runs the check if v is a T, and says whether it is.
func typed[T any](v any, check func(T)) bool {
	t, ok := v.(T)
	if ok {
		check(t)
	}
	return ok
}

func (c *checker) object(s *huma.Schema, o object) {
	present := make(map[string]bool, len(o))
	for _, m := range o {
		present[m.name] = true
		c.within(m.name, func() { c.member(s, m) })
	}
	for _, name := range s.Required {
		if !present[name] {
			c.within(name, func() { c.refuse(codeRequired, nil) })
		}
	}
}

func (c *checker) member(s *huma.Schema, m member) {
	if field, known := s.Properties[m.name]; known {
		c.value(field, m.value)
		return
	}
	switch more := s.AdditionalProperties.(type) {
	case *huma.Schema:
		c.value(more, m.value)
	case bool:
		if !more {
			c.refuse(codeUnknownField, nil)
		}
	}
}

func (c *checker) array(s *huma.Schema, items []any) {
	if s.MinItems != nil && len(items) < *s.MinItems {
		c.refuse(codeTooFew, s)
	}
	if s.MaxItems != nil && len(items) > *s.MaxItems {
		c.refuse(codeTooMany, s)
		return // and not what is wrong with each of too many
	}
	if s.UniqueItems && !unique(items) {
		c.refuse(codeNotUnique, s)
	}
	for i, item := range items {
		c.within(strconv.Itoa(i), func() { c.value(s.Items, item) })
	}
}

// unique compares scalars; objects and arrays in an array of unique items are beyond what is declared anywhere.
func unique(items []any) bool {
	seen := make(map[any]bool, len(items))
	for _, item := range items {
		if item != nil && !reflect.TypeOf(item).Comparable() {
			continue
		}
		if seen[item] {
			return false
		}
		seen[item] = true
	}
	return true
}

// text counts characters as Unicode code points, as JSON Schema does.
func (c *checker) text(s *huma.Schema, text string) {
	if s.MinLength != nil && utf8.RuneCountInString(text) < *s.MinLength {
		c.refuse(codeTooShort, s)
	}
	if s.MaxLength != nil && utf8.RuneCountInString(text) > *s.MaxLength {
		c.refuse(codeTooLong, s)
		return // a pattern need not read what is too long
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, any(text)) {
		c.refuse(codeNotAllowed, s)
		return
	}
	if s.Format == "" && s.Pattern == "" && s.ContentEncoding == "" {
		return
	}
	form := *s // only what is left to check
	form.MinLength, form.MaxLength, form.Enum = nil, nil, nil
	var found huma.ValidateResult
	huma.Validate(c.schemas, &form, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, text, &found)
	if len(found.Errors) > 0 {
		c.refuse(codeInvalidFormat, s)
	}
}

// number checks that the Go value can hold the number, then its bounds.
func (c *checker) number(s *huma.Schema, n json.Number) {
	if s.Type == huma.TypeInteger {
		if _, err := strconv.ParseInt(n.String(), 10, integerBits(s)); err != nil {
			c.refuse(integerCode(n), s)
			return
		}
	}
	f, err := n.Float64()
	if err != nil {
		return // refused when it was parsed
	}
	switch {
	case s.Minimum != nil && f < *s.Minimum, s.ExclusiveMinimum != nil && f <= *s.ExclusiveMinimum:
		c.refuse(codeTooSmall, s)
	case s.Maximum != nil && f > *s.Maximum, s.ExclusiveMaximum != nil && f >= *s.ExclusiveMaximum:
		c.refuse(codeTooLarge, s)
	case s.MultipleOf != nil && math.Mod(f, *s.MultipleOf) != 0:
		c.refuse(codeInvalid, s)
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(f)):
		c.refuse(codeNotAllowed, s)
	}
}

func integerBits(s *huma.Schema) int {
	if s.Format == "int32" {
		return 32
	}
	return 64
}

// integerCode tells a whole number that is too large from one that is not whole (1.0 and 1e3 are not: Go does not read
// them as integers).
func integerCode(n json.Number) string {
	for _, c := range n.String() {
		if c != '-' && (c < '0' || c > '9') {
			return codeWrongType
		}
	}
	return codeOutOfRange
}
