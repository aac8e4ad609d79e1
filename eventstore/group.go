package eventstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
)

// appendGroup carries out the members in one transaction, and tells each what came of it once that is committed.
//
// A member that needs what others hold just now leaves the group and is appended alone, and so does everyone when the
// group fails: a member spoils nothing for its neighbours. It returns when the group is done; those alone go on.
func (s *Store) appendGroup(members []*member) {
	if len(members) == 1 {
		s.appendSingle(members[0])
		return
	}
	g := newGroup(members)
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	if err := s.runGroup(ctx, g); err != nil {
		g.failed(err)
		for _, m := range members {
			go s.appendAlone(m)
		}
		return
	}
	for _, m := range g.alone {
		go s.appendAlone(m)
	}
	g.tell()
}

// appendSingle appends the only member there is, in one round trip.
func (s *Store) appendSingle(m *member) {
	o, err := s.execute(context.Background(), m.st, false)
	if err == errBusy {
		go s.appendAlone(m)
		return
	}
	m.done <- result{o, err}
}

// appendAlone appends a member by itself, however long others hold what it needs.
func (s *Store) appendAlone(m *member) {
	o, err := s.execute(context.Background(), m.st, true)
	m.done <- result{o, err}
}

// runGroup locks, evaluates and writes the group. With an error nothing was written, or, if the connection was lost,
// nobody knows.
func (s *Store) runGroup(ctx context.Context, g *group) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // a connection that is still in a transaction is thrown away
	if err := g.lock(ctx, conn); err != nil {
		return err
	}
	g.evaluate()
	return g.write(ctx, conn)
}

// group is what appends that go together have come to.
type group struct {
	members []*member
	part    int32
	streams map[string]*guard
	known   map[uuid.UUID]lockedCommand

	alone    []*member
	accepted []*member
	results  map[*member]result // of those who are not accepted

	w writes
}

// guard is a stream as the group finds it, and as it leaves it.
type guard struct {
	name         string
	busy         bool
	before       int64 // version, 0 for a stream that does not exist
	version      int64
	lastPosition int64
	first, last  int32 // the events it gets, from 1; 0 for none
}

// lockedCommand is a command whose id was given.
type lockedCommand struct {
	locked      bool
	fingerprint []byte
	outcome     []byte
}

func newGroup(members []*member) *group {
	part := unrecorded
	for _, m := range members {
		if part = m.st.part; part != unrecorded {
			break
		}
	}
	return &group{
		members: members, part: part, streams: map[string]*guard{},
		known: map[uuid.UUID]lockedCommand{}, results: map[*member]result{},
	}
}

// lock begins the transaction and locks what the members need, in one round trip, waiting for nobody.
func (g *group) lock(ctx context.Context, conn *pgxpool.Conn) error {
	ids, names := g.needs()
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	batch.Queue(setTimeouts)
	if len(ids) > 0 {
		batch.Queue(`SELECT id, locked, fingerprint, outcome FROM atlas.lock_commands($1)`, ids).Query(g.scanCommands)
	}
	if len(names) > 0 {
		batch.Queue(`SELECT stream, busy, version, coalesce(last_position, 0), last_time FROM atlas.lock_streams($1)`, names).Query(g.scanStreams)
	}
	return conn.SendBatch(ctx, batch).Close()
}

// needs lists the ids that were given and the streams whose versions matter. A stream that must be new does not: the
// write will find out.
func (g *group) needs() (ids []uuid.UUID, names []string) {
	for _, m := range g.members {
		if m.st.ask {
			ids = append(ids, m.st.command.ID)
		}
		for i, name := range m.st.streams {
			if m.st.expected[i] != NoStream || m.st.events[i] == 0 {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return ids, slices.Compact(names)
}

func (g *group) scanCommands(rows pgx.Rows) error {
	var id uuid.UUID
	var c lockedCommand
	_, err := pgx.ForEachRow(rows, []any{&id, &c.locked, &c.fingerprint, &c.outcome}, func() error {
		g.known[id] = lockedCommand{c.locked, slices.Clone(c.fingerprint), slices.Clone(c.outcome)}
		return nil
	})
	return err
}

func (g *group) scanStreams(rows pgx.Rows) error {
	var found guard
	var lastTime time.Time
	_, err := pgx.ForEachRow(rows, []any{&found.name, &found.busy, &found.before, &found.lastPosition, &lastTime}, func() error {
		stream := found
		stream.version = stream.before
		g.streams[stream.name] = &stream
		if lastTime.After(g.w.notBefore) {
			g.w.notBefore = lastTime
		}
		return nil
	})
	return err
}

// failed marks the members of a group whose commit was never answered: only asking for their ids tells what happened.
func (g *group) failed(err error) {
	lost := postgres.IsConnectionLost(err) || errors.Is(err, context.DeadlineExceeded)
	if !lost || pgconn.SafeToRetry(err) {
		return
	}
	for _, m := range g.members {
		m.st.ask, m.st.unknown = true, true
	}
}

// tell gives the members that stayed their results.
func (g *group) tell() {
	for _, m := range g.accepted {
		m.done <- result{outcome: g.w.outcome(m)}
	}
	for m, r := range g.results {
		m.done <- r
	}
}
