package httpapi

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds how much of a member's name a pointer repeats.
const maxName = 64

// pointer is a path into a body. Its tokens are names of ours, indexes, and names the caller chose: of those a pointer
// shows at most 64 characters and none that is not printable.
type pointer []string

// String returns the JSON pointer (RFC 6901); "" is the whole body.
func (p pointer) String() string {
	var b strings.Builder
	for _, token := range p {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(showName(token)))
	}
	return b.String()
}

// showName makes a name that the caller chose fit to be shown.
func showName(name string) string {
	if utf8.RuneCountInString(name) > maxName {
		name = string([]rune(name)[:maxName]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, name)
}
