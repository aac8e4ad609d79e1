package httpapi

import (
	"testing"

	"github.com/danielgtaylor/huma/v2/validation"
)

// Huma says what is wrong with a parameter in words alone; these are the words that the codes are told by.
func TestEveryMessageOfHumaHasItsCode(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		validation.MsgExpectedRFC3339DateTime:        codeInvalidFormat,
		validation.MsgExpectedRFC5322Email:           codeInvalidFormat,
		validation.MsgExpectedRFC4122UUID:            codeInvalidFormat,
		validation.MsgExpectedMatchPattern:           codeInvalidFormat,
		validation.MsgExpectedBePattern:              codeInvalidFormat,
		validation.MsgExpectedBase64String:           codeInvalidFormat,
		validation.MsgExpectedDuration:               codeInvalidFormat,
		validation.MsgExpectedBoolean:                codeWrongType,
		validation.MsgExpectedNumber:                 codeWrongType,
		validation.MsgExpectedInteger:                codeWrongType,
		validation.MsgExpectedString:                 codeWrongType,
		validation.MsgExpectedArrayItemsUnique:       codeNotUnique,
		validation.MsgExpectedOneOf:                  codeNotAllowed,
		validation.MsgExpectedMinimumNumber:          codeTooSmall,
		validation.MsgExpectedExclusiveMinimumNumber: codeTooSmall,
		validation.MsgExpectedMaximumNumber:          codeTooLarge,
		validation.MsgExpectedExclusiveMaximumNumber: codeTooLarge,
		validation.MsgExpectedNumberBeMultipleOf:     codeInvalid,
		validation.MsgExpectedMinLength:              codeTooShort,
		validation.MsgExpectedMaxLength:              codeTooLong,
		validation.MsgExpectedMinItems:               codeTooFew,
		validation.MsgExpectedMaxItems:               codeTooMany,
		"something new":                              codeInvalid,
	} {
		if got := codeOf(message); got != want {
			t.Errorf("%q: got %s, want %s", message, got, want)
		}
	}
}
