package mail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

const (
	maxID      = 100 // bytes
	maxSubject = 500 // bytes
)

// compose builds the message that every sender sends.
func compose(from *netmail.Address, m Message) (*gomail.Msg, error) {
	to, err := recipient(m.To)
	if err != nil {
		return nil, err
	}
	if len(m.Subject) > maxSubject || !utf8.ValidString(m.Subject) || strings.ContainsFunc(m.Subject, unicode.IsControl) {
		return nil, fmt.Errorf("%w: its subject is not one line of text", ErrInvalidMessage)
	}
	id, err := safeID(m.ID)
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from)
	msg.ToMailAddress(to)
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(id + from.Address[strings.LastIndexByte(from.Address, '@'):])
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // keeps away replies from people on holiday (RFC 3834)
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	return msg, nil
}

// recipient accepts an address and nothing around it: no name, no list, no line break.
func recipient(to string) (*netmail.Address, error) {
	address, err := netmail.ParseAddress(to)
	if err != nil || address.Address != to || strings.ContainsFunc(to, unicode.IsControl) {
		return nil, fmt.Errorf("%w: its recipient is not a plain address", ErrInvalidMessage)
	}
	return address, nil
}

// safeID returns the id as it may stand in a file name and a header. An id that had to be changed gets a hash of the
// original, so that two ids never become one.
func safeID(id string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("%w: it has no id", ErrInvalidMessage)
	}
	safe := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_') {
			return r
		}
		return '_'
	}, id)
	if safe == id && len(id) <= maxID {
		return id, nil
	}
	sum := sha256.Sum256([]byte(id))
	return safe[:min(len(safe), maxID)] + "-" + hex.EncodeToString(sum[:8]), nil
}
