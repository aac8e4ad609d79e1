package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// batchBytes is about how much of a file is parsed at a time.
const batchBytes = 256 << 10

// batch is some lines of a file on their way through a check: read by one, parsed by any of several, and then looked at
// in order.
type batch struct {
	text   []byte
	lines  []checkedLine
	first  int64         // number of the first line
	offset int64         // where it begins
	err    error         // that ended the file, after these lines; io.EOF at its end
	digest []byte        // where the trailer is among the lines: the sum of all before it
	parsed chan struct{} // closed when the lines are
}

// checkedLine is what a check keeps of a line.
type checkedLine struct {
	end   int  // in the batch's text
	event bool // if not, it is looked at when its turn comes
	err   error

	position, version int64
	id                uuid.UUID
	at                time.Time
	stream            string
}

// readBatches reads a whole file and hands each batch to the parsers and to whoever takes them in order.
func readBatches(ctx context.Context, file io.Reader, toParse, inOrder chan<- *batch) error {
	defer close(toParse)
	defer close(inOrder)
	l, sum, summing := newLines(file), sha256.New(), true
	for {
		b := &batch{text: make([]byte, 0, batchBytes+batchBytes/8), first: l.number + 1, offset: l.offset, parsed: make(chan struct{})}
		for len(b.text) < batchBytes && b.err == nil {
			var line []byte
			if line, b.err = l.next(); b.err != nil {
				break
			}
			if summing && bytes.HasPrefix(line, []byte(`{"trailer"`)) {
				summing, b.digest = false, sum.Sum(nil)
			}
			if summing {
				sum.Write(line)
			}
			b.text = append(b.text, line...)
			b.lines = append(b.lines, checkedLine{end: len(b.text)})
		}
		for _, out := range []chan<- *batch{toParse, inOrder} {
			select {
			case out <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if b.err != nil {
			return nil
		}
	}
}

// parse parses the events of the batch and checks each by itself.
func (b *batch) parse() {
	defer close(b.parsed)
	var e Event
	start := 0
	for i := range b.lines {
		l := &b.lines[i]
		line := b.text[start:l.end]
		start = l.end
		if b.first+int64(i) == 1 || !isEvent(line) {
			continue
		}
		l.event = true
		if l.err = e.parse(line); l.err == nil {
			l.err = e.check()
		}
		l.position, l.version, l.id, l.at, l.stream = e.Position, e.Version, e.ID, e.RecordedAt, e.Stream
	}
}

// eachLine reads a whole file and calls f with each line in order: its place, its text, and what was parsed of it. It
// returns the sum of all before the trailer, and what ended the file.
func eachLine(file io.Reader, f func(at spot, line []byte, l *checkedLine) error) (digest []byte, end error, err error) {
	workers := runtime.GOMAXPROCS(0)
	toParse, inOrder := make(chan *batch, workers), make(chan *batch, 2*workers)
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error { return readBatches(ctx, file, toParse, inOrder) })
	for range workers {
		g.Go(func() error {
			for b := range toParse {
				b.parse()
			}
			return nil
		})
	}
	g.Go(func() error {
		for b := range inOrder {
			<-b.parsed
			start := 0
			for i := range b.lines {
				l := &b.lines[i]
				at := spot{b.first + int64(i), b.offset + int64(l.end)}
				if err := f(at, b.text[start:l.end], l); err != nil {
					return err
				}
				start = l.end
			}
			if b.digest != nil {
				digest = b.digest
			}
			end = b.err
		}
		return nil
	})
	err = g.Wait()
	if errors.Is(end, io.EOF) {
		end = nil
	}
	return digest, end, err
}
