package eventstore_test

import (
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
)

// The protocol, step by step, as atlas.append and atlas.horizon have it. Writers and readers below are made of these,
// the mutants among them with one thing wrong.
var (
	begin       = step{name: "begin", do: doBegin}
	commit      = step{name: "commit", effect: ends, do: doCommit}
	rollback    = statementStep("roll back", ends, `ROLLBACK`)
	die         = step{name: "die", effect: ends, do: (*actor).terminate}
	savepoint   = statementStep("savepoint", 0, `SAVEPOINT here`)
	backTo      = step{name: "rollback to", effect: fences | ends, do: doBackTo}
	lockCommand = step{name: "command", do: doLockCommand}
	lockStream  = step{name: "stream", effect: locksStream, do: doLockStream}
	readTag     = step{name: "S", effect: readsEnd, do: doReadTag}
	fence       = step{name: "fence", effect: fences, do: doFence}
	draw        = step{name: "draw", effect: draws, do: doDraw}
	insert      = step{name: "insert", do: doInsert}

	readCeiling = step{name: "C", effect: readsEnd, do: doReadCeiling}
	readLocks   = step{name: "locks", effect: readsFences, do: doReadLocks}
	readRows    = step{name: "events", effect: readsEvents, do: doReadRows}
)

// writer is the protocol of an append; how it ends is the caller's.
func writer(end ...step) []step {
	return slices.Concat([]step{begin, lockCommand, lockStream, readTag, fence, draw, insert}, end)
}

func reader() []step { return []step{readCeiling, readLocks, readRows} }

// realWriter is the same by atlas.append, which is stopped at the gates inside it.
func realWriter(end ...step) []step {
	return slices.Concat([]step{
		begin,
		{name: "append to S", effect: locksStream | readsEnd, do: doAppend, until: beforeFence},
		{name: "fence", effect: fences, opens: beforeFence, until: afterFence},
		{name: "draw", effect: draws, opens: afterFence, until: afterDraw},
		{name: "insert", effect: locksStream, opens: afterDraw}, // where the stream is new, it is made only now
	}, end)
}

// realGroup is the same by what appends a group, here of one.
func realGroup(end ...step) []step {
	p := realWriter(end...)
	p[1] = step{name: "group to S", effect: locksStream | readsEnd, do: doGroup, until: beforeFence}
	return p
}

// realReader is the reader by atlas.horizon, stopped between its statements.
func realReader() []step {
	return []step{
		{name: "horizon to C", effect: readsEnd, do: doHorizon, until: beforeLocks},
		{name: "locks", effect: readsFences, opens: beforeLocks},
		readRows,
	}
}

func statementStep(name string, e effect, sql string) step {
	return step{name: name, effect: e, do: func(a *actor) error { return a.exec(sql) }}
}

func effectsOf(programs [][]step) [][]effect {
	all := make([][]effect, len(programs))
	for i, p := range programs {
		for _, s := range p {
			all[i] = append(all[i], s.effect)
		}
	}
	return all
}

func doBegin(a *actor) (err error) {
	a.tx, err = a.conn.BeginTx(a.ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	return err
}

func doCommit(a *actor) error {
	a.committed = true
	return a.exec(`COMMIT`)
}

// doBackTo undoes what the database undoes. What the actor remembers stays: positions are drawn for good.
func doBackTo(a *actor) error {
	a.version = 0
	return a.exec(`ROLLBACK TO here`)
}

func doLockCommand(a *actor) error {
	id := uuid.New()
	return a.exec(`SELECT pg_advisory_xact_lock(atlas.lock_key('command', hashtextextended($1::text, 0)))`, id)
}

func doLockStream(a *actor) error {
	const make = `INSERT INTO atlas.streams (stream, version, last_time) VALUES ($1, 0, '-infinity') ON CONFLICT DO NOTHING`
	const lock = `SELECT version FROM atlas.streams WHERE stream = $1 FOR UPDATE`
	if err := a.exec(make, a.stream); err != nil {
		return err
	}
	return a.conn.QueryRow(a.ctx, lock, a.stream).Scan(&a.version)
}

func doReadTag(a *actor) error {
	return a.conn.QueryRow(a.ctx, `SELECT last_value FROM atlas.events_position`).Scan(&a.tag)
}

func doFence(a *actor) error {
	return a.exec(`SELECT pg_catalog.pg_advisory_xact_lock_shared(atlas.lock_key('fence', $1))`, a.tag)
}

func doDraw(a *actor) error {
	var position int64
	err := a.conn.QueryRow(a.ctx, `SELECT pg_catalog.nextval('atlas.events_position')`).Scan(&position)
	a.drawn = append(a.drawn, position)
	return err
}

func doInsert(a *actor) error {
	const event = `INSERT INTO atlas.events (position, version, recorded_at, id, schema_version, stream, type, data, metadata)
		VALUES ($1, $2, clock_timestamp(), gen_random_uuid(), 1, $3, 'document.archived', '{}', '{}')`
	const guard = `UPDATE atlas.streams SET version = $2, last_position = $3 WHERE stream = $1`
	position := a.drawn[len(a.drawn)-1]
	a.version++
	if err := a.exec(event, position, a.version, a.stream); err != nil {
		return err
	}
	return a.exec(guard, a.stream, a.version, position)
}

func doAppend(a *actor) error {
	stream, err := eventstore.ParseStream(a.stream)
	if err != nil {
		return err
	}
	o, err := a.store.AppendTx(a.ctx, a.tx, eventstore.Write{
		Stream: stream, Expect: eventstore.AnyVersion, Events: []events.Event{events.DocumentArchived{}},
	})
	a.drawn = append(a.drawn, o.Position())
	return err
}

func doGroup(a *actor) error {
	const lock = `SELECT coalesce((SELECT version FROM atlas.lock_streams(ARRAY[$1::text]) WHERE NOT busy), 0)`
	const write = `SELECT positions[1] FROM atlas.append_group(now(), 0, ARRAY[$1::text], ARRAY[$2::bigint],
		ARRAY[$2::bigint + 1], '{1}', '{1}', '{1}', '{1}', ARRAY[$2::bigint + 1], ARRAY[gen_random_uuid()],
		'{document.archived}', '{1}', '{"{}"}', '{null}', '{null}', '{null}', ARRAY[gen_random_uuid()], ARRAY[''::bytea],
		'{"{}"}', '{1}', ARRAY[$1::text], ARRAY[$2::bigint + 1], '{1}', '{1}', '{0}')`
	if err := a.conn.QueryRow(a.ctx, lock, a.stream).Scan(&a.version); err != nil {
		return err
	}
	var position int64
	err := a.conn.QueryRow(a.ctx, write, a.stream, a.version).Scan(&position)
	a.drawn = append(a.drawn, position)
	return err
}

func doReadCeiling(a *actor) error {
	return a.conn.QueryRow(a.ctx, `SELECT last_value FROM atlas.events_position`).Scan(&a.ceiling)
}

// fencesHeld is the lowest tag among the fences, or nothing.
const fencesHeld = `SELECT min(((classid::bigint << 32) | objid::bigint) & 281474976710655) FROM pg_catalog.pg_locks
	WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 16724
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

func doReadLocks(a *actor) error {
	var low *int64
	err := a.conn.QueryRow(a.ctx, fencesHeld).Scan(&low)
	a.low = -1
	if low != nil {
		a.low = *low
	}
	return err
}

// doHorizon calls the log's own function, and takes its answer for both C and the fences.
func doHorizon(a *actor) error {
	a.low = -1
	return a.conn.QueryRow(a.ctx, `SELECT atlas.horizon()`).Scan(&a.ceiling)
}

func doReadRows(a *actor) error {
	const q = `SELECT position, version, stream FROM atlas.events WHERE position > $1 AND position <= $2 ORDER BY position`
	horizon := a.ceiling
	if a.low >= 0 {
		horizon = min(horizon, a.low)
	}
	rows, err := a.conn.Query(a.ctx, q, a.checkpoint, horizon)
	if err != nil {
		return err
	}
	return a.remember(horizon, rows)
}

// remember notes what was read and moves the checkpoint to the horizon, or leaves it: a horizon may lie below an
// earlier one.
func (a *actor) remember(horizon int64, rows pgx.Rows) error {
	r := reading{after: a.checkpoint, horizon: horizon}
	var f found
	_, err := pgx.ForEachRow(rows, []any{&f.position, &f.version, &f.stream}, func() error {
		r.events = append(r.events, f)
		return nil
	})
	a.readings = append(a.readings, r)
	a.checkpoint = max(a.checkpoint, horizon)
	return err
}
