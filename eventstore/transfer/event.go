package transfer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
)

// Event is an event as it is stored, and as one line of NDJSON.
type Event struct {
	Position   int64           // "position"
	Stream     string          // "stream": category-uuid
	Version    int64           // "version", in the stream
	ID         uuid.UUID       // "id"
	Type       string          // "type": the stored name
	Schema     int32           // "schema_version"
	RecordedAt time.Time       // "recorded_at": RFC 3339, UTC
	Subject    *uuid.UUID      // "subject": whose key seals, if anything is
	Data       json.RawMessage // "data"
	Metadata   json.RawMessage // "metadata"
	Sealed     []byte          // "sealed": personal fields, encrypted, in base64
	Secret     []byte          // "secret": likewise; only in exports

	SealedData json.RawMessage // "sealed_data": what is sealed, where it was asked for
	Erased     bool            // "erased": it was asked for, and is gone with the subject's key

	buffers [2][]byte // what parse has decoded into, to be used again
}

// appendLine appends the event's line.
func (e *Event) appendLine(b []byte) []byte {
	b = append(b, `{"position":`...)
	b = strconv.AppendInt(b, e.Position, 10)
	b = appendString(append(b, `,"stream":`...), e.Stream)
	b = strconv.AppendInt(append(b, `,"version":`...), e.Version, 10)
	b = appendString(append(b, `,"id":`...), e.ID.String())
	b = appendString(append(b, `,"type":`...), e.Type)
	b = strconv.AppendInt(append(b, `,"schema_version":`...), int64(e.Schema), 10)
	b = append(e.RecordedAt.UTC().AppendFormat(append(b, `,"recorded_at":"`...), time.RFC3339Nano), '"')
	if e.Subject != nil {
		b = appendString(append(b, `,"subject":`...), e.Subject.String())
	}
	b = append(append(b, `,"data":`...), e.Data...)
	b = append(append(b, `,"metadata":`...), e.Metadata...)
	if e.Sealed != nil {
		b = append(base64.StdEncoding.AppendEncode(append(b, `,"sealed":"`...), e.Sealed), '"')
	}
	if e.Secret != nil {
		b = append(base64.StdEncoding.AppendEncode(append(b, `,"secret":"`...), e.Secret), '"')
	}
	if e.SealedData != nil {
		b = append(append(b, `,"sealed_data":`...), e.SealedData...)
	}
	if e.Erased {
		b = append(b, `,"erased":true`...)
	}
	return append(b, "}\n"...)
}

func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return append(b, quoted...)
}

// parse reads an event's line. What is not a field of an exported event is refused, so that nothing is lost unnoticed.
// The event is valid as long as the line, and until it parses another. Whether data and metadata are well-formed is left
// to check, or to PostgreSQL.
func (e *Event) parse(line []byte) error {
	*e = Event{buffers: e.buffers}
	seen := 0
	err := members(line, func(name, value []byte) error {
		bit, err := e.set(string(name), value)
		if err == nil && seen&bit != 0 {
			err = errors.New("is there twice")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		seen |= bit
		return nil
	})
	if err != nil {
		return err
	}
	for i, name := range required {
		if seen&(1<<i) == 0 {
			return fmt.Errorf("%q is missing", name)
		}
	}
	return nil
}

// required are the fields every event has; the others follow them in the bits of what was seen.
var required = []string{"position", "stream", "version", "id", "type", "schema_version", "recorded_at", "data", "metadata"}

// set sets one field and returns its bit.
func (e *Event) set(name string, value []byte) (bit int, err error) {
	switch name {
	case "position":
		e.Position, err = strconv.ParseInt(string(value), 10, 48)
		return 1 << 0, err
	case "stream":
		e.Stream, err = text(value)
		return 1 << 1, err
	case "version":
		e.Version, err = strconv.ParseInt(string(value), 10, 64)
		return 1 << 2, err
	case "id":
		e.ID, err = id(value)
		return 1 << 3, err
	case "type":
		e.Type, err = text(value)
		return 1 << 4, err
	case "schema_version":
		n, err := strconv.ParseInt(string(value), 10, 32)
		e.Schema = int32(n)
		return 1 << 5, err
	case "recorded_at":
		err = e.RecordedAt.UnmarshalJSON(value)
		e.RecordedAt = e.RecordedAt.UTC().Truncate(time.Microsecond) // which is what PostgreSQL keeps
		return 1 << 6, err
	case "data":
		e.Data = value
		return 1 << 7, nil
	case "metadata":
		e.Metadata = value
		return 1 << 8, nil
	case "subject":
		subject, err := id(value)
		e.Subject = &subject
		return 1 << 9, err
	case "sealed":
		e.Sealed, err = decoded(e.buffers[0], value)
		e.buffers[0] = e.Sealed
		return 1 << 10, err
	case "secret":
		e.Secret, err = decoded(e.buffers[1], value)
		e.buffers[1] = e.Secret
		return 1 << 11, err
	}
	return 0, errors.New("is not a field of an exported event")
}

// check refuses what the log could not hold, whatever comes before or after it.
func (e *Event) check() error {
	_, err := eventstore.ParseStream(e.Stream)
	switch {
	case err != nil:
		return err
	case e.Position < 1 || e.Version < 1 || e.Schema < 1:
		return errors.New("positions and versions start at 1")
	case e.Type == "" || !utf8.ValidString(e.Type) || strings.IndexByte(e.Type, 0) >= 0:
		return errors.New("the type has no name")
	case e.Subject == nil && (e.Sealed != nil || e.Secret != nil):
		return errors.New("it is sealed, and names no subject")
	case e.RecordedAt.Year() < 1970 || e.RecordedAt.Year() > 9999:
		return fmt.Errorf("recorded in the year %d", e.RecordedAt.Year())
	}
	return eventstore.CheckStored(e.Data, e.Metadata, len(e.Sealed)+len(e.Secret))
}

func id(value []byte) (uuid.UUID, error) {
	if len(value) != 38 || value[0] != '"' || value[37] != '"' {
		return uuid.UUID{}, errors.New("is not a UUID")
	}
	return uuid.ParseBytes(value[1:37])
}

// decoded reads base64 into b.
func decoded(b, value []byte) ([]byte, error) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return nil, errors.New("is not base64")
	}
	if b == nil {
		b = []byte{} // an empty value is not none
	}
	return strict.AppendDecode(b[:0], value[1:len(value)-1])
}

var strict = base64.StdEncoding.Strict()
