package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/atlas-platform/atlas/internal/fault"
)

// Cursors makes and reads the opaque positions that lists hand out. A cursor is authenticated: nobody but a holder of
// the key can make one, so what it holds may be trusted as far as what was put in.
type Cursors struct{ key []byte }

// NewCursors returns the cursors of a key of at least 32 bytes. All nodes of a fleet share it.
func NewCursors(key []byte) Cursors {
	if len(key) < 32 {
		panic("httpapi: a cursor key needs at least 32 bytes")
	}
	return Cursors{key}
}

// cursorsOf makes a key of its own where none is given.
func cursorsOf(key []byte) Cursors {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key)
	}
	return NewCursors(key)
}

const (
	cursorVersion = 1 // the first byte; a change of layout counts it up
	cursorMAC     = 16
)

// EncodeCursor returns the cursor for a place in a list. The purpose says which list: include everything that must not
// change between pages (the owner, the filters). A cursor for one purpose is invalid for every other.
func EncodeCursor[T any](c Cursors, purpose string, place T) string {
	data, err := json.Marshal(place)
	if err != nil {
		panic("httpapi: cursor: " + err.Error()) // a place is a struct of ours
	}
	b := append([]byte{cursorVersion}, c.mac(purpose, data)...)
	return base64.RawURLEncoding.EncodeToString(append(b, data...))
}

// DecodeCursor returns the place that EncodeCursor was given for the purpose. Anything else is ErrInvalidParameter.
func DecodeCursor[T any](c Cursors, purpose, cursor string) (place T, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 1+cursorMAC || b[0] != cursorVersion {
		return place, errCursor()
	}
	mac, data := b[1:1+cursorMAC], b[1+cursorMAC:]
	if !hmac.Equal(mac, c.mac(purpose, data)) {
		return place, errCursor()
	}
	if err := json.Unmarshal(data, &place); err != nil {
		return place, errCursor() // authentic, but of another release's shape
	}
	return place, nil
}

func (c Cursors) mac(purpose string, data []byte) []byte {
	h := hmac.New(sha256.New, c.key)
	hashPart(h, []byte("cursor"))
	hashPart(h, []byte(purpose))
	hashPart(h, data)
	return h.Sum(nil)[:cursorMAC]
}

func errCursor() error {
	return ErrInvalidParameter.At(fault.Field{
		Pointer: "cursor", Code: codeInvalidFormat, Message: "must be the next_cursor of an earlier page of the same list",
	})
}
