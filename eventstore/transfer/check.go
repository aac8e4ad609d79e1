package transfer

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"time"

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

// checker looks at the lines of a file in order.
type checker struct {
	keys    *sealing.Keys
	found   Contents
	counted Trailer
	ended   bool // the trailer was seen
	streams map[string]streamEnd
	ids     map[uint64]struct{} // hashes: two ids share one in less than one of a hundred thousand files of ten million events
	seed    maphash.Seed
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
	last := int64(0)
	digest, end, err := eachLine(file, func(at spot, line []byte, l *checkedLine) error {
		last = at.line
		if err := c.line(at, line, l); err != nil {
			return &LineError{at.line, err}
		}
		return nil
	})
	switch {
	case err != nil:
		return c.found, err
	case end != nil:
		return c.found, end
	case last == 0:
		return c.found, errors.New("the file is empty")
	case !c.ended:
		return c.found, errCutOff
	}
	c.found.Digest = digest
	if err := c.trailer(); err != nil {
		return c.found, &LineError{last, err}
	}
	return c.found, nil
}

func (c *checker) line(at spot, line []byte, l *checkedLine) error {
	if c.ended {
		return errors.New("something follows the trailer")
	}
	if l.event {
		return c.event(at, l)
	}
	x, err := parseExtra(line)
	if at.line == 1 {
		if err != nil || x.Header == nil {
			return errors.New("not the header of an export")
		}
		c.found.Header, c.found.events = *x.Header, at
		return x.Header.check()
	}
	switch {
	case err != nil:
		return err
	case x.Trailer != nil:
		c.found.Trailer, c.ended = *x.Trailer, true
		return nil
	case x.Header != nil:
		return errors.New("a second header")
	case c.counted.Events > 0 || !c.found.Header.Keys:
		return errors.New("a key where none may be")
	}
	c.found.events = at
	return c.key(x)
}

func (c *checker) key(x extra) error {
	switch {
	case x.Secret != nil:
		c.counted.Secrets++
		return c.keys.CheckSecret(*x.Secret)
	case x.Key != nil:
		c.counted.Keys++
		return c.keys.Check(*x.Key)
	}
	return errors.New("neither an event nor a key")
}

// event holds an event that was found in order by itself against those before it.
func (c *checker) event(at spot, l *checkedLine) error {
	if l.err != nil {
		return l.err
	}
	h := c.found.Header
	if l.position <= c.found.Last || l.position < h.From || l.position > h.Upto {
		return fmt.Errorf("position %d does not follow %d", l.position, c.found.Last)
	}
	before, known := c.streams[l.stream]
	switch {
	case known && l.version != before.version+1:
		return fmt.Errorf("version %d of %s does not follow %d", l.version, l.stream, before.version)
	case known && l.at.Before(before.at):
		return fmt.Errorf("version %d of %s was recorded before the one before it", l.version, l.stream)
	case !known && l.version != 1 && c.found.Severed == 0:
		c.found.Severed = at.line
	}
	c.streams[l.stream] = streamEnd{l.version, l.at}
	hashed := maphash.Comparable(c.seed, l.id)
	if _, twice := c.ids[hashed]; twice {
		return fmt.Errorf("the event %s is there twice", l.id)
	}
	c.ids[hashed] = struct{}{}
	if c.counted.Events == 0 {
		c.found.First = l.position
	}
	c.found.Last = l.position
	c.counted.Events++
	return nil
}

// trailer compares what the file says of itself with what it holds.
func (c *checker) trailer() error {
	t := c.found.Trailer
	if got := fmt.Sprintf("%x", c.found.Digest); got != t.SHA256 {
		return errors.New("the file was changed: its SHA-256 is not the one it names")
	}
	if c.counted.SHA256 = t.SHA256; c.counted != t {
		return errors.New("the file does not hold as many lines as it says")
	}
	return nil
}
