package eventstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// writes is a group as the database takes it: the arguments of atlas.append_group, array by array.
type writes struct {
	notBefore time.Time
	events    eventColumnsOf
	members   memberColumns
	items     itemColumns
	positions []int64 // of the events, once written
}

// item is what a member does to one of its streams. The position is that of an event, or else where the stream was.
type item struct {
	outcome StreamOutcome
	last    int32 // the event, from 1; 0 for none
}

type eventColumnsOf struct {
	members  []int32
	names    []string // of the streams; indexes are known only when all are
	versions []int64
	ids      []uuid.UUID
	types    []string
	schemas  []int32
	data     []string
	subjects []*uuid.UUID
	sealed   [][]byte
	secrets  [][]byte
}

type memberColumns struct {
	ids          []uuid.UUID
	fingerprints [][]byte
	metadata     []string
}

// itemColumns are the outcomes that are recorded, stream by stream.
type itemColumns struct {
	members   []int32
	streams   []string
	versions  []int64
	events    []int32
	lasts     []int32
	positions []int64
}

// add puts a member that was accepted behind those before it, and moves its streams on.
func (w *writes) add(m *member, streams map[string]*guard) {
	st := m.st
	w.members.ids = append(w.members.ids, st.command.ID)
	w.members.fingerprints = append(w.members.fingerprints, st.command.Fingerprint)
	w.members.metadata = append(w.members.metadata, st.metadata)
	number := int32(len(w.members.ids))
	offset := int32(len(w.events.ids))
	for i, stream := range st.eventStreams {
		guard := streams[st.streams[stream-1]]
		w.events.members = append(w.events.members, number)
		w.events.names = append(w.events.names, guard.name)
		w.events.versions = append(w.events.versions, guard.version+int64(st.numbers[i]))
		if guard.first == 0 {
			guard.first = offset + int32(i) + 1
		}
		guard.last = offset + int32(i) + 1
	}
	w.events.ids = append(w.events.ids, st.ids...)
	w.events.types = append(w.events.types, st.types...)
	w.events.schemas = append(w.events.schemas, st.schemas...)
	w.events.data = append(w.events.data, st.data...)
	w.events.subjects = append(w.events.subjects, st.subjects...)
	w.events.sealed = append(w.events.sealed, st.sealed...)
	w.events.secrets = append(w.events.secrets, st.secrets...)
	w.addItems(m, number, offset, streams)
}

// addItems notes what the member does to each of its streams, in the order its caller gave them.
func (w *writes) addItems(m *member, number, offset int32, streams map[string]*guard) {
	st := m.st
	m.items = make([]item, 0, len(st.order))
	for _, index := range st.order {
		i := index - 1
		guard := streams[st.streams[i]]
		guard.version += int64(st.events[i])
		last := guard.last // where the member adds nothing, an earlier one may have moved the stream on
		if st.events[i] > 0 {
			last = offset + st.lasts[i]
		}
		to := StreamOutcome{Stream: st.targets[i], Version: guard.version, Position: guard.lastPosition, Events: int64(st.events[i])}
		m.items = append(m.items, item{to, last})
		if st.part == unrecorded {
			continue
		}
		w.items.members = append(w.items.members, number)
		w.items.streams = append(w.items.streams, guard.name)
		w.items.versions = append(w.items.versions, guard.version)
		w.items.events = append(w.items.events, st.events[i])
		w.items.lasts = append(w.items.lasts, last)
		w.items.positions = append(w.items.positions, guard.lastPosition)
	}
}

// outcome returns what was written for a member.
func (w *writes) outcome(m *member) (o Outcome) {
	o.Streams = make([]StreamOutcome, len(m.items))
	for i, to := range m.items {
		if to.last > 0 {
			to.outcome.Position = w.positions[to.last-1]
		}
		o.Streams[i] = to.outcome
	}
	return o
}

// write writes what was accepted and commits, in one round trip.
func (g *group) write(ctx context.Context, conn *pgxpool.Conn) error {
	if len(g.accepted) == 0 {
		_, err := conn.Exec(ctx, "ROLLBACK")
		return err
	}
	const call = `
		SELECT atlas.append_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
			$20, $21, $22, $23, $24, $25, $26)`
	touched := g.touched()
	var names []string
	var befores, afters []int64
	var firsts, lasts []int32
	index := map[string]int32{}
	for i, s := range touched {
		names, befores, afters = append(names, s.name), append(befores, s.before), append(afters, s.version)
		firsts, lasts = append(firsts, s.first), append(lasts, s.last)
		index[s.name] = int32(i + 1)
	}
	eventStreams := make([]int32, len(g.w.events.names))
	for i, name := range g.w.events.names {
		eventStreams[i] = index[name]
	}
	e, m, it := g.w.events, g.w.members, g.w.items
	batch := &pgx.Batch{}
	batch.Queue(call, g.w.notBefore, g.part, names, befores, afters, firsts, lasts,
		e.members, eventStreams, e.versions, uuidArray(e.ids), e.types, e.schemas, e.data, optionalArray(e.subjects), e.sealed, e.secrets,
		uuidArray(m.ids), m.fingerprints, m.metadata,
		it.members, it.streams, it.versions, it.events, it.lasts, it.positions,
	).QueryRow(func(row pgx.Row) error { return row.Scan(&g.w.positions) })
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, batch).Close()
}

// touched returns the streams that get events, sorted by name.
func (g *group) touched() (streams []*guard) {
	for _, s := range g.streams {
		if s.first > 0 {
			streams = append(streams, s)
		}
	}
	slices.SortFunc(streams, func(a, b *guard) int { return strings.Compare(a.name, b.name) })
	return streams
}
