package transfer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore/sealing"
)

// Contents is what a file was found to hold.
type Contents struct {
	Header  Header
	Trailer Trailer
	Digest  []byte // SHA-256 of all before the trailer
	First   int64  // position of the first event; 0 where there is none
	Last    int64
	Severed int64 // the first line that goes on with a stream which does not begin in the file; 0 where there is none

	events spot // where they begin
}

// spot is a place in a file: the line that was read last, and where it ends.
type spot struct{ line, offset int64 }

// checker reads a file from end to end.
type checker struct {
	keys    *sealing.Keys
	found   Contents
	counted Trailer
	streams map[string]streamEnd
	ids     map[uint64]struct{} // hashes: two ids of a file share one less than once in a million files of ten million events
	seed    maphash.Seed
	event   Event
}

// streamEnd is how far a stream has come.
type streamEnd struct {
	version int64
	at      time.Time
}

// Check reads a whole file and refuses it unless every line is in order. What is wrong with a line is a *LineError. The
// keys in the file must be of a master key this process has.
func Check(file io.Reader, keys *sealing.Keys) (Contents, error) {
	c := &checker{keys: keys, streams: map[string]streamEnd{}, ids: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
	l, sum := newLines(file), sha256.New()
	for {
		line, err := l.next()
		switch {
		case errors.Is(err, io.EOF) && l.number == 0:
			return c.found, errors.New("the file is empty")
		case errors.Is(err, io.EOF):
			return c.found, errCutOff
		case err != nil:
			return c.found, err
		}
		done, err := c.line(l, line)
		if err != nil {
			return c.found, l.fault(err)
		}
		if done {
			c.found.Digest = sum.Sum(nil)
			return c.found, c.trailer(l)
		}
		sum.Write(line)
	}
}

// line checks one line and says whether it is the trailer.
func (c *checker) line(l *lines, line []byte) (trailer bool, err error) {
	if l.number == 1 {
		return false, c.header(l, line)
	}
	if isEvent(line) {
		return false, c.check(l, line)
	}
	x, err := parseExtra(line)
	switch {
	case err != nil:
		return false, err
	case x.Trailer != nil:
		c.found.Trailer = *x.Trailer
		return true, nil
	case x.Header != nil:
		return false, errors.New("a second header")
	case c.counted.Events > 0 || !c.found.Header.Keys:
		return false, errors.New("a key where none may be")
	}
	c.found.events = spot{l.number, l.offset}
	if x.Secret != nil {
		c.counted.Secrets++
		return false, c.keys.CheckSecret(*x.Secret)
	}
	if x.Key == nil {
		return false, errors.New("neither an event nor a key")
	}
	c.counted.Keys++
	return false, c.keys.Check(*x.Key)
}

func (c *checker) header(l *lines, line []byte) error {
	x, err := parseExtra(line)
	if err != nil || x.Header == nil {
		return errors.New("not the header of an export")
	}
	c.found.Header, c.found.events = *x.Header, spot{l.number, l.offset}
	return x.Header.check()
}

// check checks one event, alone and against those before it.
func (c *checker) check(l *lines, line []byte) error {
	e := &c.event
	if err := e.parse(line); err != nil {
		return err
	}
	if err := e.check(); err != nil {
		return err
	}
	h := c.found.Header
	if e.Position <= c.found.Last || e.Position < h.From || e.Position > h.Upto {
		return fmt.Errorf("position %d does not follow %d", e.Position, c.found.Last)
	}
	if err := c.follows(l, e); err != nil {
		return err
	}
	hashed := maphash.Comparable[uuid.UUID](c.seed, e.ID)
	if _, twice := c.ids[hashed]; twice {
		return fmt.Errorf("the event %s is there twice", e.ID)
	}
	c.ids[hashed] = struct{}{}
	if c.counted.Events == 0 {
		c.found.First = e.Position
	}
	c.found.Last = e.Position
	c.counted.Events++
	return nil
}

// follows holds that an event is its stream's next.
func (c *checker) follows(l *lines, e *Event) error {
	before, known := c.streams[e.Stream]
	switch {
	case known && e.Version != before.version+1:
		return fmt.Errorf("version %d of %s does not follow %d", e.Version, e.Stream, before.version)
	case known && e.RecordedAt.Before(before.at):
		return fmt.Errorf("version %d of %s was recorded before the one before it", e.Version, e.Stream)
	case !known && e.Version != 1 && c.found.Severed == 0:
		c.found.Severed = l.number
	}
	c.streams[e.Stream] = streamEnd{e.Version, e.RecordedAt}
	return nil
}

// trailer compares what the file says of itself with what it holds.
func (c *checker) trailer(l *lines) error {
	t := c.found.Trailer
	if got := fmt.Sprintf("%x", c.found.Digest); got != t.SHA256 {
		return l.fault(errors.New("the file was changed: its SHA-256 is not the one it names"))
	}
	if c.counted.SHA256 = t.SHA256; c.counted != t {
		return l.fault(errors.New("the file does not hold as many lines as it says"))
	}
	if _, err := l.next(); !errors.Is(err, io.EOF) {
		return l.fault(errors.New("something follows the trailer"))
	}
	return nil
}
