package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/sealing"
)

// Export says what to take out of a log.
type Export struct {
	Log      *Log
	Keys     *sealing.Keys
	From, To int64                   // positions, both included; a To of 0 is the horizon
	WithKeys bool                    // also the wrapped keys, without which another database cannot open what is sealed
	Progress func(done, total int64) // in positions; may be nil
}

// Write writes a whole file and returns what is in it.
func (x Export) Write(ctx context.Context, out io.Writer) (Trailer, error) {
	h, err := x.header(ctx)
	if err != nil {
		return Trailer{}, err
	}
	w := newWriter(out)
	if err := w.extra(extra{Header: &h}); err != nil {
		return Trailer{}, err
	}
	return x.finish(ctx, w, h, h.From-1)
}

// finish writes what follows after a position, with the keys before the first event. Where that fails, what was written
// by then is whole lines, to be resumed.
func (x Export) finish(ctx context.Context, w *writer, h Header, after int64) (_ Trailer, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, w.out.Flush())
		}
	}()
	if h.Keys && w.counts.Events == 0 {
		if err := x.writeKeys(ctx, w); err != nil {
			return Trailer{}, err
		}
	}
	return x.writeEvents(ctx, w, h, after)
}

// Resume goes on with a file that was cut off, and ends it as the export that began it would have. A file that is
// complete is left alone.
func (x Export) Resume(ctx context.Context, file *os.File) (Trailer, error) {
	p, err := readPartial(file)
	if err != nil || p.complete {
		return p.w.counts, err
	}
	if err := file.Truncate(p.offset); err != nil {
		return Trailer{}, err
	}
	if _, err := file.Seek(p.offset, io.SeekStart); err != nil {
		return Trailer{}, err
	}
	p.w.out.Reset(file)
	return x.finish(ctx, p.w, p.header, max(p.last, p.header.From-1))
}

// header reads the horizon and fixes what the export holds.
func (x Export) header(ctx context.Context) (h Header, err error) {
	const q = `
		SELECT coalesce(min(position), 0), coalesce(max(position), 0), clock_timestamp()
		FROM atlas.events WHERE position BETWEEN $1 AND $2`
	h = Header{Format: formatName, Version: formatVersion, From: max(x.From, 1), Upto: x.To, Keys: x.WithKeys}
	if h.Horizon, err = x.Log.Store.Horizon(ctx); err != nil {
		return h, err
	}
	if h.Upto <= 0 {
		h.Upto = h.Horizon
	}
	if h.Upto > h.Horizon {
		return h, fmt.Errorf("the log is final up to %d only, not to %d", h.Horizon, h.Upto)
	}
	if err := x.Log.Store.RequireRange(ctx, h.From-1, h.Upto); err != nil {
		return h, err
	}
	if err := x.Log.Pool.QueryRow(ctx, q, h.From, h.Upto).Scan(&h.First, &h.Last, &h.CreatedAt); err != nil {
		return h, fmt.Errorf("read the log's ends: %w", err)
	}
	h.CreatedAt = h.CreatedAt.UTC().Truncate(time.Second)
	return h, nil
}

func (x Export) writeKeys(ctx context.Context, w *writer) error {
	secrets, err := x.Keys.StoredSecrets(ctx)
	if err != nil {
		return err
	}
	for _, s := range secrets {
		w.counts.Secrets++
		if err := w.extra(extra{Secret: &s}); err != nil {
			return err
		}
	}
	for after := uuid.Nil; ; {
		keys, err := x.Keys.Stored(ctx, after, pageSize)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			w.counts.Keys++
			if err := w.extra(extra{Key: &k}); err != nil {
				return err
			}
		}
		after = keys[len(keys)-1].Subject
	}
}

// writeEvents writes the events after a position, then the trailer.
func (x Export) writeEvents(ctx context.Context, w *writer, h Header, after int64) (Trailer, error) {
	var line []byte
	for {
		read, last, err := x.Log.page(ctx, after, h.Upto, eventstore.Filter{}, pageSize, true, func(e *Event) error {
			line = e.appendLine(line[:0])
			return w.write(line)
		})
		if err != nil {
			return w.counts, err
		}
		w.counts.Events += read
		if read < pageSize {
			return w.counts, w.finish()
		}
		after = last
		if x.Progress != nil {
			x.Progress(after-h.From+1, h.Upto-h.From+1)
		}
	}
}

// partial is a file that may have been cut off.
type partial struct {
	header   Header
	w        *writer // has the sum and the counts so far
	last     int64   // position of the last event
	offset   int64   // up to where it is of use
	complete bool
}

// readPartial reads as much of a file as is whole. What it did not come to write down of the keys is written anew.
func readPartial(r io.Reader) (p partial, err error) {
	p.w = newWriter(io.Discard)
	l := newLines(r)
	first, err := l.next()
	if err != nil {
		return p, fmt.Errorf("nothing to go on with: %w", err)
	}
	x, err := parseExtra(first)
	if err != nil || x.Header == nil {
		return p, errors.New("nothing to go on with: the file does not begin with a header")
	}
	if err := x.Header.check(); err != nil {
		return p, err
	}
	p.header, p.offset = *x.Header, l.offset
	p.w.sum.Write(first)
	var keys []byte // since the header: they count once an event has followed
	var secrets, subjects int64
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errCutOff) {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		if !isEvent(line) {
			x, err := parseExtra(line)
			switch {
			case err != nil:
				return p, l.fault(err)
			case x.Trailer != nil:
				p.complete, p.w.counts = true, *x.Trailer
				return p, nil
			case x.Secret != nil:
				secrets++
			case x.Key != nil:
				subjects++
			}
			keys = append(keys, line...)
			continue
		}
		var e Event
		if err := e.parse(line); err != nil {
			return p, l.fault(err)
		}
		if keys != nil {
			p.w.sum.Write(keys)
			p.w.counts.Secrets, p.w.counts.Keys, keys = secrets, subjects, nil
		}
		p.w.sum.Write(line)
		p.w.counts.Events++
		p.last, p.offset = e.Position, l.offset
	}
}
