package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
)

// chunk is about how much is sent at once.
const chunk = 64 << 10

// errGone says that the reader has gone away.
var errGone = errors.New("the reader is gone")

// Stream writes Server-Sent Events (WHATWG HTML, section 9.2). What is written is sent by flush, or once there is enough.
type Stream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	buffer   bytes.Buffer
}

// NewStream begins an answer that is a stream of events.
func (f *Feeds) NewStream(w http.ResponseWriter) *Stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx and its like would hold it back
	return &Stream{w: w, control: http.NewResponseController(w), patience: f.config.Patience}
}

// event writes an event with its id.
func (s *Stream) event(id eventstore.Place, e any) error {
	s.buffer.WriteString("id: ")
	s.buffer.WriteString(id.String())
	s.buffer.WriteString("\ndata: ")
	encoder := json.NewEncoder(&s.buffer) // ends with a line feed, and has no other
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return fmt.Errorf("encode event %d: %w", id.Position, err)
	}
	s.buffer.WriteByte('\n')
	if s.buffer.Len() < chunk {
		return nil
	}
	return s.flush()
}

// id writes an id without data: a reader remembers it, and is told of no event.
func (s *Stream) id(p eventstore.Place) { fmt.Fprintf(&s.buffer, "id: %s\n\n", p) }

// retry writes how soon a reader is to come again whose connection ended.
func (s *Stream) retry(d time.Duration) {
	s.buffer.WriteString("retry: " + strconv.FormatInt(d.Milliseconds(), 10) + "\n\n")
}

// comment writes a sign of life.
func (s *Stream) comment() { s.buffer.WriteString(": still here\n\n") }

// end writes why nothing more comes, as an event of the name "end".
func (s *Stream) end(code, detail string) {
	text, err := json.Marshal(map[string]string{"code": code, "detail": detail})
	if err != nil {
		panic(err) // two strings always encode
	}
	fmt.Fprintf(&s.buffer, "event: end\ndata: %s\n\n", text)
}

// flush sends what was written. It is os.ErrDeadlineExceeded where the reader does not take it in time, and errGone where
// there is none any more.
func (s *Stream) flush() error {
	if s.buffer.Len() == 0 {
		return nil
	}
	err := s.control.SetWriteDeadline(time.Now().Add(s.patience))
	if err == nil {
		_, err = s.w.Write(s.buffer.Bytes())
	}
	if err == nil {
		err = s.control.Flush()
	}
	if s.buffer.Reset(); s.buffer.Cap() > 4*chunk {
		s.buffer = bytes.Buffer{}
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}
