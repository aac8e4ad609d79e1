package transfer

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// chunkBytes bounds a chunk whose events are large.
const chunkBytes = 16 << 20

// chunk is what one transaction imports.
type chunk struct {
	rows    rows
	streams []*chunkStream // by name
	first   int64          // positions in the file
	last    int64
	from    spot // the place it begins at
	upto    spot
}

// chunkStream is what a chunk adds to one stream.
type chunkStream struct {
	name              string
	line              int64 // of its first event
	firstVersion      int64
	version           int64
	firstTime, time   time.Time
	firstRow, lastRow int
}

func (c *chunk) events() int64 { return int64(len(c.rows.starts)) }

// positions returns the position of each row.
func (c *chunk) positions() []int64 {
	all := make([]int64, len(c.rows.starts))
	for row := range all {
		all[row] = c.rows.positionOf(row)
	}
	return all
}

// readChunks reads events from a place on and sends them by chunks, one ahead of whoever takes them.
func readChunks(ctx context.Context, file io.ReadSeeker, from spot, size int, out chan<- *chunk) error {
	defer close(out)
	if _, err := file.Seek(from.offset, io.SeekStart); err != nil {
		return err
	}
	l, room := newLines(file), 0
	l.number, l.offset = from.line, from.offset
	for {
		c, err := readChunk(l, size, room)
		if err != nil {
			return err
		}
		room = len(c.rows.b)
		if c.events() == 0 {
			return nil
		}
		select {
		case out <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readChunk reads the next events; none are left when it is empty. The file was checked, and is only held to what would
// do harm if it had changed since. room is about how many bytes the chunk takes.
func readChunk(l *lines, size, room int) (*chunk, error) {
	c := &chunk{rows: rows{b: make([]byte, 0, room+room/8)}, from: spot{l.number, l.offset}, upto: spot{l.number, l.offset}}
	streams := map[string]*chunkStream{}
	var e Event
	for len(c.rows.starts) < size && len(c.rows.b) < chunkBytes {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !isEvent(line) {
			break
		}
		if err := e.parse(line); err != nil {
			return nil, l.fault(err)
		}
		if e.Position <= c.last {
			return nil, l.fault(errors.New("the file changed while it was imported"))
		}
		c.add(&e, l.number, streams)
		c.upto = spot{l.number, l.offset}
	}
	slices.SortFunc(c.streams, func(a, b *chunkStream) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

func (c *chunk) add(e *Event, line int64, streams map[string]*chunkStream) {
	row := len(c.rows.starts)
	s := streams[e.Stream]
	if s == nil {
		s = &chunkStream{name: e.Stream, line: line, firstVersion: e.Version, firstTime: e.RecordedAt, firstRow: row}
		streams[e.Stream] = s
		c.streams = append(c.streams, s)
	}
	s.version, s.time, s.lastRow = e.Version, e.RecordedAt, row
	if row == 0 {
		c.first = e.Position
	}
	c.last = e.Position
	c.rows.add(e)
}
