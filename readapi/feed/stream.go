package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
)

// chunk is about how much is sent at once, and idle how much memory a stream keeps that has nothing to send. Once it has to
// end, what is on its way and why it ends have the time of lastWords.
const (
	chunk     = 64 << 10
	idle      = 8 << 10
	lastWords = time.Second
)

// errGone says that the reader has gone away.
var errGone = errors.New("the reader is gone")

// Stream writes Server-Sent Events (WHATWG HTML, section 9.2). What is written is sent by flush, or once there is enough.
type Stream struct {
	ending   atomic.Bool
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
	h.Set("Connection", "close")     // whose deadline for writing is the feed's
	return &Stream{w: w, control: http.NewResponseController(w), patience: f.config.Patience}
}

// event writes an event with its id. A text that is large is sent by itself, so that it need not be copied.
func (s *Stream) event(id eventstore.Place, text []byte) error {
	s.buffer.WriteString("id: " + id.String() + "\ndata: ")
	if len(text) < chunk {
		s.buffer.Write(text)
	} else if err := s.alone(text); err != nil {
		return err
	}
	s.buffer.WriteString("\n\n")
	if s.buffer.Len() < chunk {
		return nil
	}
	return s.flush()
}

// alone sends a text behind what was written.
func (s *Stream) alone(text []byte) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.send(text)
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

// flush sends what was written, and fails as send does.
func (s *Stream) flush() error {
	if s.buffer.Len() == 0 {
		return nil
	}
	err := s.send(s.buffer.Bytes())
	if s.buffer.Reset(); s.buffer.Cap() > idle {
		s.buffer = bytes.Buffer{}
	}
	return err
}

// send sends bytes. It is os.ErrDeadlineExceeded where the reader does not take them in time, and errGone where there is
// none any more.
func (s *Stream) send(b []byte) error {
	err := s.control.SetWriteDeadline(time.Now().Add(s.patience))
	if s.ending.Load() { // asked last: who hurries the stream sets the deadline after it is ending
		err = s.control.SetWriteDeadline(time.Now().Add(min(s.patience, lastWords)))
	}
	if err == nil {
		_, err = s.w.Write(b)
	}
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// hurry has the stream end soon, whether its reader takes what is on its way or not. It may be called at any time.
func (s *Stream) hurry() {
	s.ending.Store(true)
	_ = s.control.SetWriteDeadline(time.Now().Add(min(s.patience, lastWords))) // fails only where the connection is gone
}
