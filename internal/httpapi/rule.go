package httpapi

import (
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The codes of fields: what is wrong with one part of the input.
const (
	codeSyntax        = "syntax"
	codeDuplicate     = "duplicate"
	codeTooDeep       = "too_deep"
	codeRequired      = "required"
	codeUnknownField  = "unknown_field"
	codeUnknownParam  = "unknown_parameter"
	codeRepeated      = "repeated"
	codeWrongType     = "wrong_type"
	codeTooShort      = "too_short"
	codeTooLong       = "too_long"
	codeTooSmall      = "too_small"
	codeTooLarge      = "too_large"
	codeTooFew        = "too_few"
	codeTooMany       = "too_many"
	codeNotUnique     = "not_unique"
	codeNotAllowed    = "not_allowed"
	codeOutOfRange    = "out_of_range"
	codeInvalidFormat = "invalid_format"
	codeInvalidText   = "invalid_text"
	codeInvalid       = "invalid"
)

// sentence says what the rule is that a value broke. It knows the rule and never the value.
func sentence(code string, s *huma.Schema) string {
	switch code {
	case codeRequired:
		return "is required"
	case codeUnknownField:
		return "is not a field of this object"
	case codeUnknownParam:
		return "is not a parameter of this operation"
	case codeRepeated:
		return "may be given once"
	case codeNotUnique:
		return "must not hold an item twice"
	case codeOutOfRange:
		return "is out of the range of its type"
	}
	if s == nil {
		return "is not valid"
	}
	switch {
	case code == codeWrongType:
		return "must be " + typeName(s)
	case code == codeTooShort && s.MinLength != nil:
		return fmt.Sprintf("must have at least %d characters", *s.MinLength)
	case code == codeTooLong && s.MaxLength != nil:
		return fmt.Sprintf("must have at most %d characters", *s.MaxLength)
	case code == codeTooFew && s.MinItems != nil:
		return fmt.Sprintf("must have at least %d items", *s.MinItems)
	case code == codeTooMany && s.MaxItems != nil:
		return fmt.Sprintf("must have at most %d items", *s.MaxItems)
	case code == codeTooSmall || code == codeTooLarge:
		return boundSentence(code, s)
	case code == codeNotAllowed && len(s.Enum) > 0:
		return "must be one of " + strings.Trim(fmt.Sprint(s.Enum), "[]")
	case code == codeInvalidFormat:
		return formatSentence(s)
	default:
		return "is not valid"
	}
}

func typeName(s *huma.Schema) string {
	switch s.Type {
	case huma.TypeBoolean:
		return "true or false"
	case huma.TypeInteger:
		return "a whole number"
	case huma.TypeNumber:
		return "a number"
	case huma.TypeString:
		return "a string"
	case huma.TypeArray:
		return "an array"
	default:
		return "an object"
	}
}

func boundSentence(code string, s *huma.Schema) string {
	switch {
	case code == codeTooSmall && s.Minimum != nil:
		return fmt.Sprintf("must be at least %v", *s.Minimum)
	case code == codeTooSmall && s.ExclusiveMinimum != nil:
		return fmt.Sprintf("must be more than %v", *s.ExclusiveMinimum)
	case code == codeTooLarge && s.Maximum != nil:
		return fmt.Sprintf("must be at most %v", *s.Maximum)
	case code == codeTooLarge && s.ExclusiveMaximum != nil:
		return fmt.Sprintf("must be less than %v", *s.ExclusiveMaximum)
	default:
		return "is out of range"
	}
}

func formatSentence(s *huma.Schema) string {
	switch {
	case s.PatternDescription != "":
		return "must be " + s.PatternDescription
	case s.Format != "":
		return "must have the format " + s.Format
	case s.Pattern != "":
		return "must match " + s.Pattern
	case s.ContentEncoding != "":
		return "must be encoded as " + s.ContentEncoding
	default:
		return "does not have the expected form"
	}
}
