package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/atlas-platform/atlas/eventstore/sealing"
)

// What the header calls the format, and the newest version of it that this package reads and writes.
const (
	formatName    = "atlas-events"
	formatVersion = 1
)

// maxLine bounds a line: the largest event, its ciphertext in base64.
const maxLine = 64 << 20

// Header is the first line of a file.
type Header struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	From      int64     `json:"from"`           // positions from here
	Upto      int64     `json:"upto"`           // up to here, both included
	Horizon   int64     `json:"horizon"`        // how far the log was final when the export began
	First     int64     `json:"first_position"` // of an event in the range; 0 where there is none
	Last      int64     `json:"last_position"`
	Keys      bool      `json:"keys"` // whether keys follow
}

// Trailer is the last line of a file.
type Trailer struct {
	Events  int64  `json:"events"`
	Keys    int64  `json:"subject_keys"`
	Secrets int64  `json:"server_secrets"`
	SHA256  string `json:"sha256"` // of every byte before this line
}

// extra is a line that is no event: one of its fields is set.
type extra struct {
	Header  *Header               `json:"header,omitempty"`
	Secret  *sealing.StoredSecret `json:"server_secret,omitempty"`
	Key     *sealing.StoredKey    `json:"subject_key,omitempty"`
	Trailer *Trailer              `json:"trailer,omitempty"`
}

// isEvent tells an event's line from the others. It need not look at all of it.
func isEvent(line []byte) bool {
	for _, other := range []string{`{"header"`, `{"server_secret"`, `{"subject_key"`, `{"trailer"`} {
		if bytes.HasPrefix(line, []byte(other)) {
			return false
		}
	}
	return true
}

func parseExtra(line []byte) (x extra, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return x, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return x, errNotJSON
	}
	return x, nil
}

func (h *Header) check() error {
	switch {
	case h.Format != formatName:
		return fmt.Errorf("the format %q is not %q", h.Format, formatName)
	case h.Version != formatVersion:
		return fmt.Errorf("version %d of the format is not known to this atlas, which knows %d", h.Version, formatVersion)
	}
	return nil
}

// writer writes lines and keeps their sum.
type writer struct {
	out    *bufio.Writer
	sum    hash.Hash
	counts Trailer
}

func newWriter(w io.Writer) *writer {
	return &writer{out: bufio.NewWriterSize(w, 1<<20), sum: sha256.New()}
}

func (w *writer) write(line []byte) error {
	w.sum.Write(line)
	_, err := w.out.Write(line)
	return err
}

func (w *writer) extra(x extra) error {
	line, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return w.write(append(line, '\n'))
}

// finish writes the trailer.
func (w *writer) finish() error {
	w.counts.SHA256 = fmt.Sprintf("%x", w.sum.Sum(nil))
	if err := w.extra(extra{Trailer: &w.counts}); err != nil {
		return err
	}
	return w.out.Flush()
}

// errCutOff says that a file ends before its trailer.
var errCutOff = errors.New("the file is cut off: it ends without its trailer")

// lines reads a file line by line.
type lines struct {
	in     *bufio.Reader
	long   []byte
	number int64 // of the line read last
	offset int64 // where it ended
}

func newLines(r io.Reader) *lines { return &lines{in: bufio.NewReaderSize(r, 1<<20)} }

// next returns the next line with its newline; it is valid until the next call. After the last one it is io.EOF. A last
// line without a newline is errCutOff.
func (l *lines) next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(l.long) <= maxLine {
			l.long = append(l.long, line...)
			line, err = l.in.ReadSlice('\n')
		}
		line = append(l.long, line...)
		l.long = line
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		return nil, errCutOff
	}
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	l.number++
	l.offset += int64(len(line))
	if len(line) > maxLine {
		return nil, l.fault(fmt.Errorf("longer than %d bytes", maxLine))
	}
	return line, nil
}

// LineError is what is wrong with a line of a file.
type LineError struct {
	Line int64
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

func (l *lines) fault(err error) error { return &LineError{Line: l.number, Err: err} }
