package eventstore

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/atlas-platform/atlas/events"
)

// What one event may weigh, and how long its numbers may be written. Larger ones belong elsewhere.
const (
	maxEventBytes  = 16 << 20
	maxNumberBytes = 400
	maxExponent    = 400
)

// validateEvent refuses an event that is too large or holds what PostgreSQL could not.
func validateEvent(enc events.Encoded) error {
	parts := [][]byte{enc.Data, enc.Sealed, enc.Secret}
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	if size > maxEventBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrData, size, maxEventBytes)
	}
	for _, part := range parts {
		if err := validate(part); err != nil {
			return err
		}
	}
	return nil
}

// validate refuses JSON that PostgreSQL could not hold or give back: the NUL character, surrogates without their
// partner, invalid UTF-8, and numbers beyond all use. The input is well-formed JSON otherwise.
func validate(json []byte) error {
	if !utf8.Valid(json) {
		return fmt.Errorf("%w: not valid UTF-8", ErrData)
	}
	for i := 0; i < len(json); {
		var err error
		switch c := json[i]; {
		case c == '"':
			i, err = validateString(json, i+1)
		case c == '-' || c >= '0' && c <= '9':
			i, err = validateNumber(json, i)
		default:
			i++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// validateString checks the string that starts at i and returns where it has ended.
func validateString(json []byte, i int) (int, error) {
	for i < len(json) {
		switch {
		case json[i] == '"':
			return i + 1, nil
		case json[i] != '\\' || i+1 >= len(json):
			i++
		case json[i+1] != 'u':
			i += 2
		default:
			n, err := validateEscape(json[i:])
			if err != nil {
				return 0, err
			}
			i += n
		}
	}
	return 0, fmt.Errorf("%w: a string does not end", ErrData)
}

// validateEscape checks a \uXXXX escape, with its second half where it is a surrogate, and returns its length.
func validateEscape(s []byte) (int, error) {
	switch unit := codeUnit(s); {
	case unit < 0:
		return 0, fmt.Errorf("%w: a \\u escape is cut off", ErrData)
	case unit == 0:
		return 0, fmt.Errorf("%w: the NUL character", ErrData)
	case unit >= 0xD800 && unit < 0xDC00:
		if low := codeUnit(s[6:]); low < 0xDC00 || low > 0xDFFF {
			return 0, fmt.Errorf("%w: half of a surrogate pair", ErrData)
		}
		return 12, nil
	case unit >= 0xDC00 && unit <= 0xDFFF:
		return 0, fmt.Errorf("%w: half of a surrogate pair", ErrData)
	}
	return 6, nil
}

// codeUnit returns the value of the \uXXXX escape that s starts with, or -1.
func codeUnit(s []byte) int64 {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(n)
}

// validateNumber checks the number that starts at i and returns where it has ended.
func validateNumber(json []byte, i int) (int, error) {
	start, exponent := i, -1
	for ; i < len(json) && isNumber(json[i]); i++ {
		if json[i] == 'e' || json[i] == 'E' {
			exponent = i + 1
		}
	}
	if i-start > maxNumberBytes {
		return 0, fmt.Errorf("%w: a number of %d digits", ErrData, i-start)
	}
	if exponent < 0 {
		return i, nil
	}
	if n, err := strconv.Atoi(string(json[exponent:i])); err != nil || n > maxExponent || n < -maxExponent {
		return 0, fmt.Errorf("%w: a number's exponent is beyond ±%d", ErrData, maxExponent)
	}
	return i, nil
}

func isNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}
