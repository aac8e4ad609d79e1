package eventstore

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Stream names one sequence of events: its category ("document") and the id of what it is about. Its stored form is
// "document-0197f2f0-…".
type Stream struct {
	Category string
	ID       uuid.UUID
}

// NewStream names the stream of one aggregate.
func NewStream(category string, id uuid.UUID) Stream { return Stream{Category: category, ID: id} }

// String returns the stored form.
func (s Stream) String() string { return s.Category + "-" + s.ID.String() }

// MarshalText returns the stored form.
func (s Stream) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the stored form.
func (s *Stream) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStream(string(text))
	return err
}

// isCategory says whether the name is one of 1 to 63 lower-case letters, digits and underscores that begins with a letter.
func isCategory(name string) bool {
	for i, c := range []byte(name) {
		if letter := c >= 'a' && c <= 'z'; !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= 63
}

// isStoredID says whether what can be read as an id is in the form that is stored.
func isStoredID[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= 'A' && text[i] <= 'F' {
			return false
		}
	}
	return len(text) == 36
}

// ParseStream reads a stream's stored form, and no other spelling of it.
func ParseStream(name string) (Stream, error) {
	category, text, found := strings.Cut(name, "-")
	id, err := uuid.Parse(text)
	if !found || err != nil || !isStoredID(text) || !isCategory(category) {
		return Stream{}, fmt.Errorf("stream %q is not of the form category-uuid", name)
	}
	return Stream{Category: category, ID: id}, nil
}
