package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// stage is a log on which actors take their steps one at a time, each on a connection of its own, in an order forced
// upon them.
type stage struct {
	t       *testing.T
	ctx     context.Context
	url     string
	control *pgx.Conn // holds the gates, and looks who waits
	store   *eventstore.Store
	conns   []*pgx.Conn
	arrived []chan int // at which gate each actor stands
	base    int64      // what lies at or below it belongs to earlier schedules
	version int64      // that every stream is at before a schedule: 0, or 1 where streams exist already
	actors  []*actor
	played  []move
}

// The gates stand inside the log's own functions, so that their steps can be forced too: a statement that comes to a
// closed one says so and waits there. They are reached by names that the actors' search path finds before PostgreSQL's own.
const gates = `
	CREATE SCHEMA gates;
	CREATE FUNCTION gates.pass(gate int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('gates.passed' || gate, true) = 'yes' THEN
			RETURN; -- only a transaction's first try is stopped
		END IF;
		PERFORM set_config('gates.passed' || gate, 'yes', true);
		RAISE NOTICE '%', gate;
		PERFORM pg_advisory_lock_shared(current_setting('gates.actor')::int, gate);
		PERFORM pg_advisory_unlock_shared(current_setting('gates.actor')::int, gate);
	END $$;
	CREATE FUNCTION gates.pg_advisory_xact_lock_shared(key bigint) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM gates.pass(1);
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(key);
		PERFORM gates.pass(2);
	END $$;
	CREATE FUNCTION gates.pg_try_advisory_xact_lock_shared(key bigint) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM gates.pg_advisory_xact_lock_shared(key);
		RETURN true;
	END $$;
	CREATE FUNCTION gates.nextval(sequence regclass) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		drawn bigint := pg_catalog.nextval(sequence);
	BEGIN
		PERFORM gates.pass(3);
		RETURN drawn;
	END $$;
	CREATE FUNCTION gates.locks() RETURNS SETOF pg_catalog.pg_locks LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM gates.pass(4);
		RETURN QUERY SELECT * FROM pg_catalog.pg_locks;
	END $$;
	CREATE VIEW gates.pg_locks AS SELECT * FROM gates.locks();`

const (
	beforeFence = iota + 1
	afterFence
	afterDraw
	beforeLocks
)

// newStage opens a stage for a number of actors. What a mutant needs is created on it, too.
func newStage(t *testing.T, actors int, setup string) *stage {
	t.Helper()
	s := &stage{t: t, ctx: t.Context(), url: pgtest.NewDatabase(t, eventstore.Migrations())}
	s.control = s.connect(nil)
	s.store = eventstore.New(nil, logtest.Vocabulary(t), nil) // it appends in the actors' transactions only
	s.must(s.control, gates)
	s.must(s.control, setup)
	for a := range actors {
		s.conns, s.arrived = append(s.conns, nil), append(s.arrived, nil)
		s.enter(a)
	}
	return s
}

func (s *stage) connect(notice pgconn.NoticeHandler) *pgx.Conn {
	s.t.Helper()
	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.OnNotice = notice
	conn, err := pgx.ConnectConfig(s.ctx, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (s *stage) must(conn *pgx.Conn, sql string) {
	s.t.Helper()
	if _, err := conn.Exec(s.ctx, sql); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// enter gives an actor a new connection and closes its gates.
func (s *stage) enter(a int) {
	s.t.Helper()
	arrived := make(chan int, beforeLocks+1)
	s.arrived[a] = arrived
	s.conns[a] = s.connect(func(_ *pgconn.PgConn, n *pgconn.Notice) {
		gate, err := strconv.Atoi(n.Message)
		if err != nil {
			s.t.Errorf("notice: %s", n.Message)
		}
		arrived <- gate
	})
	s.must(s.conns[a], fmt.Sprintf("SET search_path = gates, pg_catalog; SET gates.actor = '%d'", a))
	s.must(s.control, fmt.Sprintf("SELECT pg_advisory_lock(%d, g) FROM generate_series(%d, %d) g", a, beforeFence, beforeLocks))
}

// actor is who takes a program's steps in one schedule.
type actor struct {
	*stage
	number  int
	conn    *pgx.Conn
	tx      pgx.Tx
	program []step
	next    int
	running chan error // of the statement under way
	blocked bool       // it waits for another actor
	dead    bool

	stream    string
	tag       int64   // of its fence
	drawn     []int64 // positions
	version   int64
	committed bool

	checkpoint   int64
	ceiling, low int64 // C, and the lowest tag among the fences; low is -1 where nobody holds one
	readings     []reading
}

// step is one thing an actor does: it may begin a statement or open a gate for the one that runs, and ends when the
// statement does, or waits at the next gate.
type step struct {
	name   string
	effect effect
	do     func(*actor) error
	opens  int
	until  int
}

// move is a step that was taken.
type move struct {
	actor *actor
	step  step
}

// reading is what a reader found after its checkpoint and up to a horizon.
type reading struct {
	after, horizon int64
	events         []found
}

type found struct {
	position, version int64
	stream            string
}

// run plays the programs in the order of the schedule, and then whatever is left of them, and returns the actors. An
// actor whose turn comes while it waits for another one loses the turn.
func (s *stage) run(programs [][]step, streams []string, schedule []int) []*actor {
	s.t.Helper()
	s.found(streams)
	if err := s.control.QueryRow(s.ctx, `SELECT last_value FROM atlas.events_position`).Scan(&s.base); err != nil {
		s.t.Fatal(err)
	}
	s.played = nil
	all := make([]*actor, len(programs))
	for a, p := range programs {
		all[a] = &actor{stage: s, number: a, conn: s.conns[a], program: p, checkpoint: s.base}
		if a < len(streams) {
			all[a].stream = streams[a]
		}
	}
	s.actors = all
	for _, a := range schedule {
		s.turn(all[a])
	}
	for left := true; left; {
		left = false
		for _, a := range all {
			left = s.turn(a) || left
		}
	}
	for i, a := range all {
		if a.dead {
			s.enter(i)
		}
	}
	return all
}

// found makes the schedule's streams, if they are to exist before it.
func (s *stage) found(streams []string) {
	s.t.Helper()
	const q = `
		WITH made AS (
			INSERT INTO atlas.streams (stream, version, first_position, last_position, last_time)
			SELECT DISTINCT s, 1, 0, 0, now() FROM unnest($1::text[]) s RETURNING stream
		)
		INSERT INTO atlas.events (position, version, recorded_at, id, schema_version, stream, type, data, metadata)
		SELECT nextval('atlas.events_position'), 1, now(), gen_random_uuid(), 1, stream, 'document.archived', '{}', '{}' FROM made`
	if s.version == 0 {
		return
	}
	if _, err := s.control.Exec(s.ctx, q, streams); err != nil {
		s.t.Fatal(err)
	}
}

// turn lets an actor take its next step, and then those go on that waited for it. It says whether there was anything to
// do still.
func (s *stage) turn(a *actor) bool {
	s.t.Helper()
	if a.next == len(a.program) || a.dead {
		return false
	}
	st := a.program[a.next]
	if a.blocked && st.name != "die" {
		return true
	}
	a.next++
	if err := a.take(st); err != nil {
		s.t.Fatalf("actor %d, %s: %v", a.number, st.name, err)
	}
	if st.effect&ends == 0 {
		return true
	}
	for _, other := range s.actors {
		if !other.blocked {
			continue
		}
		if err := other.settle(other.program[other.next-1]); err != nil {
			s.t.Fatalf("actor %d: %v", other.number, err)
		}
	}
	return true
}

func (a *actor) take(st step) error {
	switch {
	case st.do == nil:
		a.must(a.control, fmt.Sprintf("SELECT pg_advisory_unlock(%d, %d)", a.number, st.opens))
		err := a.settle(st)
		a.must(a.control, fmt.Sprintf("SELECT pg_advisory_lock(%d, %d)", a.number, st.opens))
		return err
	case st.until == 0 && st.effect&locksStream == 0:
		a.played = append(a.played, move{a, st})
		return st.do(a)
	}
	running := make(chan error, 1)
	a.running = running
	go func() { running <- st.do(a) }()
	return a.settle(st)
}

// settle returns when the actor's statement has ended, has come to the step's gate, or waits for another actor.
func (a *actor) settle(st step) error {
	for {
		select {
		case err := <-a.running:
			a.running = nil
			return a.settled(st, err)
		case gate := <-a.arrived[a.number]:
			if gate == st.until {
				return a.settled(st, nil)
			}
		case waits := <-a.waits(st):
			if a.blocked = waits; waits {
				return nil
			}
		}
	}
}

// waits looks whether the actor waits for a lock that another one holds. Nothing comes of it, not even the question,
// where no other could hold one.
func (a *actor) waits(st step) <-chan bool {
	if st.effect&locksStream == 0 || !slices.ContainsFunc(a.actors, func(o *actor) bool { return o != a && o.stream == a.stream }) {
		return nil
	}
	const q = `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
		WHERE pid = $1 AND NOT granted AND (locktype <> 'advisory' OR objsubid = 1))`
	answer := make(chan bool, 1)
	var waits bool
	if err := a.control.QueryRow(a.ctx, q, int32(a.conn.PgConn().PID())).Scan(&waits); err != nil {
		a.t.Error(err)
	}
	answer <- waits
	return answer
}

func (a *actor) settled(st step, err error) error {
	a.blocked = false
	a.played = append(a.played, move{a, st})
	return err
}

// terminate ends the actor's backend, as a crash of its process would.
func (a *actor) terminate() error {
	var gone bool
	err := a.control.QueryRow(a.ctx, `SELECT pg_terminate_backend($1, 10000)`, int32(a.conn.PgConn().PID())).Scan(&gone)
	if err == nil && !gone {
		err = errors.New("it survives")
	}
	if a.running != nil {
		<-a.running
	}
	a.must(a.control, fmt.Sprintf("SELECT pg_advisory_unlock(%d, g) FROM generate_series(%d, %d) g", a.number, beforeFence, beforeLocks))
	a.dead, a.blocked, a.running = true, false, nil
	return err
}

func (a *actor) exec(sql string, args ...any) error {
	_, err := a.conn.Exec(a.ctx, sql, args...)
	return err
}

// truth is what the schedule added to the streams, in the order of positions.
func (s *stage) truth(streams []string) []found {
	s.t.Helper()
	rows, err := s.control.Query(s.ctx, `SELECT position, version, stream FROM atlas.events WHERE stream = ANY ($1) AND version > $2 ORDER BY position`, streams, s.version)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f found, err error) {
		err = row.Scan(&f.position, &f.version, &f.stream)
		return f, err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// told is the schedule that was played, in words.
func (s *stage) told() string {
	var b strings.Builder
	for _, m := range s.played {
		fmt.Fprintf(&b, "%d:%s ", m.actor.number, m.step.name)
	}
	return b.String()
}

func streamName() string { return "document-" + uuid.Must(uuid.NewV7()).String() }
