package auth

import (
	"fmt"
	"io"
	"log/slog"
)

// hiddenMark is what a secret looks like wherever it is printed.
const hiddenMark = "[redacted]"

// Secret is text that must not be seen: a password, a token, a key. Formatted, logged or encoded it reads
// "[redacted]"; only Reveal gives it back. JSON decodes into it as into any string.
//
// Keep it in exported fields and out of map keys: fmt cannot call the methods of an unexported field, and JSON does not
// call those of a key.
type Secret string

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]".
func (Secret) String() string { return hiddenMark }

// GoString returns "[redacted]".
func (Secret) GoString() string { return hiddenMark }

// Format writes "[redacted]" for every verb, %x and %d included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenMark) }

// MarshalJSON returns "[redacted]".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hiddenMark + `"`), nil }

// MarshalText returns "[redacted]", for encoders other than JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(hiddenMark), nil }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(hiddenMark) }

// sealed keeps a key where printing cannot reach it. Package fmt does not call the methods of unexported fields, but it
// writes a function as an address however deeply it is nested, and encoders skip it.
type sealed[T any] func() T

func seal[T any](key T) sealed[T] { return func() T { return key } }
