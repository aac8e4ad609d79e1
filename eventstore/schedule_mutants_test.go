package eventstore_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// mutant is the protocol with one thing wrong: a writer that does wrong beside one that does right, or a reader, or
// both doing right on a log that was set up wrong.
type mutant struct {
	name   string
	writer []step
	reader []step
	setup  string
}

// The wrong ways to read, each of which lets the events be read from a snapshot that is older than the look at the locks.
const (
	inOneStatement = `
		WITH h AS MATERIALIZED (
			SELECT least(s.last_value, (` + fencesAtGate + `)) AS horizon FROM atlas.events_position s
		)
		SELECT h.horizon, e.position, e.version, e.stream
		FROM h LEFT JOIN atlas.events e ON e.position > $1 AND e.position <= h.horizon
		ORDER BY e.position`
	fencesAtGate = `SELECT min(((classid::bigint << 32) | objid::bigint) & 281474976710655) FROM gates.pg_locks
		WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 16724
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	stableReader = `
		CREATE FUNCTION gates.read_stable(after bigint, OUT horizon bigint, OUT "position" bigint, OUT version bigint, OUT stream text)
		RETURNS SETOF record LANGUAGE plpgsql STABLE AS $$
		DECLARE
			upto bigint;
			fenced bigint;
		BEGIN
			SELECT last_value INTO upto FROM atlas.events_position;
			fenced := (` + fencesAtGate + `);
			upto := least(upto, fenced);
			RETURN QUERY SELECT upto, e.position, e.version, e.stream::text
				FROM (SELECT) one LEFT JOIN atlas.events e ON e.position > after AND e.position <= upto ORDER BY e.position;
		END $$`
	readStable = `SELECT horizon, position, version, stream FROM gates.read_stable($1)`
	// What a rolled back block has locked is unlocked, also where the error was caught.
	fenceInBlock = `
		CREATE FUNCTION gates.fence(tag bigint) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_catalog.pg_advisory_xact_lock_shared(atlas.lock_key('fence', tag));
			RAISE EXCEPTION 'anything';
		EXCEPTION WHEN OTHERS THEN
		END $$`
)

var (
	beginSnapshot = statementStep("begin repeatable read", 0, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	firstCeiling  = step{name: "C and the snapshot", effect: readsEnd | readsEvents, do: doReadCeiling}
	blockFence    = step{name: "fence in a block", effect: fences, do: func(a *actor) error {
		return a.exec(`SELECT gates.fence($1)`, a.tag)
	}}
	sessionFence = step{name: "fence of the session", effect: fences, do: func(a *actor) error {
		return a.exec(`SELECT pg_advisory_lock_shared(atlas.lock_key('fence', $1))`, a.tag)
	}}
	releaseSession = step{name: "release before commit", effect: fences, do: func(a *actor) error {
		return a.exec(`SELECT pg_advisory_unlock_shared(atlas.lock_key('fence', $1))`, a.tag)
	}}
	backToFence = statementStep("rollback to", fences, `ROLLBACK TO here`)
)

// atOnce reads the horizon and the events by one statement, which takes its snapshot first.
func atOnce(sql string) []step {
	do := func(a *actor) error {
		rows, err := a.conn.Query(a.ctx, sql, a.checkpoint)
		if err != nil {
			return err
		}
		return a.rememberAll(rows)
	}
	return []step{
		{name: "C and the snapshot", effect: readsEnd | readsEvents, do: do, until: beforeLocks},
		{name: "locks", effect: readsFences, opens: beforeLocks},
	}
}

// rememberAll notes what one statement found, whose every row has the horizon first; one without an event has only that.
func (a *actor) rememberAll(rows pgx.Rows) error {
	r := reading{after: a.checkpoint}
	var position, version *int64
	var stream *string
	_, err := pgx.ForEachRow(rows, []any{&r.horizon, &position, &version, &stream}, func() error {
		if position != nil {
			r.events = append(r.events, found{position: *position, version: *version, stream: *stream})
		}
		return nil
	})
	a.readings = append(a.readings, r)
	a.checkpoint = max(a.checkpoint, r.horizon)
	return err
}

func mutants() []mutant {
	right := writer(commit)
	before := []step{begin, lockCommand, lockStream}
	program := func(steps ...step) []step { return append(append([]step{}, before...), steps...) }
	return []mutant{
		{name: "horizon and events in one statement", reader: atOnce(inOneStatement)},
		{name: "horizon and events in a STABLE function", reader: atOnce(readStable), setup: stableReader},
		{name: "a REPEATABLE READ reader", reader: []step{beginSnapshot, firstCeiling, readLocks, readRows, rollback}},
		{name: "locks read before C", reader: []step{readLocks, readCeiling, readRows}},
		{name: "a fence in a savepoint that is rolled back to",
			writer: program(savepoint, readTag, fence, backToFence, draw, insert, commit)},
		{name: "a fence in an EXCEPTION block", writer: program(readTag, blockFence, draw, insert, commit), setup: fenceInBlock},
		{name: "a fence after the draw", writer: program(readTag, draw, fence, insert, commit)},
		{name: "a tag read after the draw", writer: program(draw, readTag, fence, insert, commit)},
		{name: "a fence released before the commit", writer: program(readTag, sessionFence, draw, insert, releaseSession, commit)},
		{name: "no fence", writer: program(draw, insert, commit)},
		{name: "a sequence with a cache", writer: right, setup: `ALTER SEQUENCE atlas.events_position CACHE 10`},
		{name: "a first value that is not burned", writer: right, setup: `SELECT setval('atlas.events_position', 1, false)`},
		{name: "a draw before the stream's lock",
			writer: []step{begin, lockCommand, readTag, fence, draw, lockStream, insert, commit}},
	}
}

// TestEveryWrongProtocolIsCaughtByASchedule shows that the schedules can tell: each mutant of the protocol makes a reader
// miss an event or see a stream out of order in some schedule, and always in the same one.
func TestEveryWrongProtocolIsCaughtByASchedule(t *testing.T) {
	t.Parallel()
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if m.writer == nil {
				m.writer = writer(commit)
			}
			if m.reader == nil {
				m.reader = reader()
			}
			m.mustDie(t)
		})
	}
}

// mustDie plays the mutant writer, a right one and a reader until something goes wrong. One stream serves both writers
// where each having its own has done no harm.
func (m mutant) mustDie(t *testing.T) {
	programs := [][]step{m.writer, writer(commit), m.reader}
	s := newStage(t, len(programs), m.setup)
	n, died := 0, false
	play := func(streams func() []string) func([]int) bool {
		return func(schedule []int) bool {
			n++
			if err := s.perform(programs, streams(), schedule, false); err != nil {
				t.Logf("dies of schedule %d: %v\nschedule: %s", n, err, s.told())
				died = true
			}
			return !died
		}
	}
	orders(apart(effectsOf(programs)), play(func() []string { return own(2) }))
	if !died {
		orders(effectsOf(programs), play(func() []string { one := streamName(); return []string{one, one} }))
	}
	if !died {
		t.Errorf("survives all of %d schedules", n)
	}
}
