package relay

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// furthest is how many messages of a stream that the relay does not know are looked at for one of the topic's.
const furthest = 10_000

// How what a stream got is looked at: so many messages are asked for at once, and so many are in memory in one go. Of so many the
// ids are kept whether the outbox has them or not, since one that was set back may write them again; there may be millions.
const (
	asked   = 64
	stretch = 1000
	kept    = 100_000
)

// start is where forwarding begins: behind a place, with what the stream has beyond it.
type start struct {
	place
	last  uint64          // the sequence that the stream ends with
	there map[string]bool // messages that it got since the place was taken, by id; see kept
	gone  uint64          // how many it got since and has no more: they were consumed, or have grown old
	upto  int64           // the offset beyond which all is to be forwarded
}

// passes says whether the stream has had a row already. Ask for rows in order, once each.
func (s *start) passes(r row) bool {
	if s.there[r.ID] {
		return true
	}
	if s.gone > 0 && r.Offset <= s.upto {
		s.gone--
		return true
	}
	return false
}

// locate returns where to go on, as the broker's stream has it: the stream decides what was forwarded, and what was recorded
// only says where to look from.
//
// Where the stream ends with what was recorded, that is it. Where it has grown since, what it got is looked at message by
// message, so that neither somebody else's among them, nor a hole that one of these tore, leads to a loss. What is gone
// from it is counted: it was the topic's next, since nobody else should write there.
func (f *forwarder) locate(ctx context.Context, stream jetstream.Stream, known place) (start, error) {
	info := stream.CachedInfo()
	made, state := info.Created.UnixNano(), info.State
	if made != known.made || state.LastSeq < known.sequence {
		offset, err := f.rediscover(ctx, stream)
		return start{place: place{offset: offset, sequence: state.LastSeq, made: made}, last: state.LastSeq, upto: offset}, err
	}
	s := start{place: known, last: state.LastSeq, there: map[string]bool{}, upto: known.offset}
	for after := known.sequence; after < s.last; after += stretch {
		ids, gone, err := idsBetween(ctx, stream, after, min(after+stretch, s.last))
		if err != nil {
			return s, err
		}
		offsets, err := f.desk.offsetsOf(ctx, ids, known.offset)
		if err != nil {
			return s, err
		}
		s.gone += gone
		s.got(ids, offsets)
	}
	if s.gone > 0 {
		last, err := f.desk.last(ctx)
		s.upto = last
		return s, err
	}
	return s, nil
}

// got takes in what else the stream got, of which these are in the outbox behind the place.
func (s *start) got(ids []string, offsets map[string]int64) {
	for _, id := range ids {
		offset, there := offsets[id]
		if there || len(s.there) < kept {
			s.there[id] = true
		}
		s.upto = max(s.upto, offset)
	}
}

// rediscover goes back through a stream of which nothing is known, or which has lost its end, and returns the offset of its last
// message that is in the outbox. Where there is none, the stream gets all that the outbox holds.
func (f *forwarder) rediscover(ctx context.Context, stream jetstream.Stream) (int64, error) {
	state := stream.CachedInfo().State
	gone := uint64(0)
	for n := uint64(0); n < min(furthest, state.LastSeq); n++ {
		sequence := state.LastSeq - n
		if sequence < state.FirstSeq {
			break
		}
		id, found, err := idAt(ctx, stream, sequence)
		if err != nil {
			return 0, err
		}
		if !found {
			gone++
			continue
		}
		offsets, err := f.desk.offsetsOf(ctx, []string{id}, 0)
		if err != nil {
			return 0, err
		}
		if offset, there := offsets[id]; there {
			return f.desk.nth(ctx, offset, gone)
		}
	}
	return 0, nil
}

// idsBetween returns the ids of the messages that a stream has behind a sequence and up to another, in order, and how many it
// has no more. After a crash there may be thousands: many are asked for at once, since each is a way to the broker and back.
func idsBetween(ctx context.Context, stream jetstream.Stream, after, upto uint64) (ids []string, gone uint64, err error) {
	first := min(max(after+1, stream.CachedInfo().State.FirstSeq), upto+1)
	var missing atomic.Uint64
	ids = make([]string, upto+1-first)
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(asked)
	for i := range ids {
		asking.Go(func() error {
			id, found, err := idAt(ctx, stream, first+uint64(i))
			if !found {
				missing.Add(1)
			}
			ids[i] = id
			return err
		})
	}
	err = asking.Wait()
	others := func(id string) bool { return id == "" }
	return slices.DeleteFunc(ids, others), first - after - 1 + missing.Load(), err
}

// idAt returns the id of a message of the stream, if it is still there.
func idAt(ctx context.Context, stream jetstream.Stream, sequence uint64) (id string, found bool, err error) {
	ctx, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	m, err := stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, explain(err)
	}
	return m.Header.Get(jetstream.MsgIDHeader), true, nil
}
