package eventstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
)

// What a write may expect of its stream, besides an exact version.
const (
	NoStream   int64 = 0  // the stream must not exist yet
	AnyVersion int64 = -1 // whatever is there
)

// Write is what an append adds to one stream. Expect is NoStream, AnyVersion, or the exact version the stream must be
// at. A write without events only checks the version.
type Write struct {
	Stream Stream
	Expect int64
	Events []events.Event
}

// statement is an append as the database takes it: the arguments of atlas.append, array by array.
type statement struct {
	command  Command
	ask      bool  // somebody may have carried the command out before
	unknown  bool  // a try was sent and never answered
	part     int32 // the table of commands it is recorded in, or unrecorded
	metadata string

	targets  []Stream // sorted by name
	streams  []string // their names
	expected []int64
	events   []int32 // how many events each stream gets
	lasts    []int32 // and which of all events is its last, from 1; 0 without events
	order    []int32 // the streams in the order the writes were given, from 1

	eventStreams []int32
	numbers      []int32
	ids          []uuid.UUID
	types        []string
	schemas      []int32
	data         []string
	subjects     []*uuid.UUID
	sealed       [][]byte
	secrets      [][]byte

	personal []personalPart
}

// personalPart is the sealed or the secret part of one event.
type personalPart struct {
	event    int
	secret   bool
	envelope *Envelope
}

// unrecorded is the part of a command that no table holds. Its id was made up for this append, so nobody else can ask for
// it; and a second try of the append cannot be carried out as well, since each of its writes moves a stream on from an
// exact version. Whether an earlier try was carried out is told by the events (Store.earlierTry).
const unrecorded int32 = -1

// prepare encodes, checks and seals the writes. The arrays run in the order of the writes given, the streams sorted.
func (s *Store) prepare(ctx context.Context, c Command, writes []Write) (*statement, error) {
	st := &statement{command: c, ask: c.Given, part: commandPart(time.Now()), eventStreams: []int32{}, ids: []uuid.UUID{}}
	if err := st.addStreams(writes); err != nil {
		return nil, err
	}
	for _, w := range writes {
		if err := st.addEvents(s.vocabulary, w); err != nil {
			return nil, fmt.Errorf("append to %s: %w", w.Stream, err)
		}
	}
	if !c.Given && !slices.Contains(st.expected, AnyVersion) && !slices.Contains(st.events, 0) {
		st.part = unrecorded
	}
	if err := s.seal(ctx, st); err != nil {
		return nil, err
	}
	return st, nil
}

func (st *statement) addStreams(writes []Write) error {
	sorted := slices.Clone(writes)
	slices.SortFunc(sorted, func(a, b Write) int { return strings.Compare(a.Stream.String(), b.Stream.String()) })
	for i, w := range sorted {
		if i > 0 && sorted[i-1].Stream == w.Stream {
			return fmt.Errorf("append to %s: the stream is named twice", w.Stream)
		}
		if !isCategory(w.Stream.Category) || w.Expect < AnyVersion {
			return fmt.Errorf("append to %s: bad category or expected version %d", w.Stream, w.Expect)
		}
		st.targets, st.streams = append(st.targets, w.Stream), append(st.streams, w.Stream.String())
		st.expected = append(st.expected, w.Expect)
	}
	if len(writes) == 0 {
		return fmt.Errorf("append: no stream is named")
	}
	st.events = make([]int32, len(sorted))
	st.lasts = make([]int32, len(sorted))
	return nil
}

func (st *statement) addEvents(v *events.Vocabulary, w Write) error {
	stream, _ := slices.BinarySearch(st.streams, w.Stream.String())
	st.order = append(st.order, int32(stream+1))
	for i, e := range w.Events {
		typ, err := v.Of(e)
		if err != nil {
			return err
		}
		enc, err := typ.Encode(e)
		if err != nil {
			return err
		}
		if err := validateEvent(enc); err != nil {
			return fmt.Errorf("%s: %w", typ.Name, err)
		}
		st.eventStreams = append(st.eventStreams, int32(stream+1))
		st.events[stream], st.lasts[stream] = int32(i+1), int32(len(st.eventStreams))
		st.numbers = append(st.numbers, int32(i+1))
		st.types = append(st.types, typ.Name)
		st.schemas = append(st.schemas, int32(typ.Version))
		st.data = append(st.data, string(enc.Data))
		st.addSealed(enc)
	}
	return nil
}

// addSealed gives the event its id and puts its personal parts into envelopes.
func (st *statement) addSealed(enc events.Encoded) {
	id := newID()
	st.ids = append(st.ids, id)
	var subject *uuid.UUID
	if enc.Subject != uuid.Nil {
		subject = &enc.Subject
	}
	st.subjects = append(st.subjects, subject)
	st.sealed = append(st.sealed, nil)
	st.secrets = append(st.secrets, nil)
	event := len(st.ids) - 1
	if enc.Sealed != nil {
		e := &Envelope{Subject: enc.Subject, Bound: bound(id, sealedPart), Plain: enc.Sealed}
		st.personal = append(st.personal, personalPart{event: event, envelope: e})
	}
	if enc.Secret != nil {
		e := &Envelope{Subject: enc.Subject, Bound: bound(id, secretPart), Plain: enc.Secret}
		st.personal = append(st.personal, personalPart{event: event, secret: true, envelope: e})
	}
}

// seal encrypts all envelopes at once, the client's among them, and puts them where they belong.
func (s *Store) seal(ctx context.Context, st *statement) error {
	meta := MetadataFrom(ctx)
	meta.CommandID = st.command.ID
	client := clientEnvelope(meta, st)
	var envelopes []*Envelope
	for _, p := range st.personal {
		envelopes = append(envelopes, p.envelope)
	}
	if client != nil {
		client.Spare = true // what is known of a forgotten person's machine is left out, and stops nobody's append
		envelopes = append(envelopes, client)
	}
	if len(envelopes) > 0 {
		if err := s.sealer.Seal(ctx, envelopes); err != nil {
			return fmt.Errorf("seal: %w", unavailable(err))
		}
	}
	for _, p := range st.personal {
		if p.secret {
			st.secrets[p.event] = p.envelope.Sealed
		} else {
			st.sealed[p.event] = p.envelope.Sealed
		}
	}
	if client != nil && client.Sealed == nil {
		client = nil
	}
	raw, err := encodeMetadata(meta, client)
	st.metadata = string(raw)
	return err
}
