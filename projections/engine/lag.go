package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// lagCounted is how many events a lag is counted up to; beyond, it is told in positions.
const lagCounted = 10_000

// slowTurn is from when on a transaction that folds is worth telling of.
const slowTurn = time.Second

// Lag is how far a projection is behind the log, and why.
type Lag struct {
	ID       ID
	Position int64
	Events   int64         // that it has not folded; where there are very many, positions
	Behind   time.Duration // how long the oldest of them has been waiting; 0 where there is none
	MovedAt  time.Time
	Node     string // that moves it; empty if none does
	Parked   int64  // keys whose events cannot be folded
	Error    string // why it stands still; empty if it does not
	Attempts int    // how often that has happened in a row
	Since    *time.Time
	Cause    string // what keeps it from moving, in words; empty where nothing is known to
}

// Lags returns the lag of every version that readers see, and what is known of its cause.
func Lags(ctx context.Context, pool *pgxpool.Pool) ([]Lag, error) {
	const q = `
		SELECT p.name, p.version, p.position,
			CASE WHEN behind.events > $1 THEN (SELECT last_value FROM atlas.events_position) - p.position ELSE behind.events END,
			behind.since, p.moved_at, coalesce(n.name, ''), p.parked, coalesce(p.error, ''), p.attempts, p.error_since,
			coalesce(turn.age, '0'::interval), coalesce(turn.pid, 0), coalesce(turn.blocker, 0), coalesce(turn.query, ''),
			coalesce(behind.next, 0), coalesce(k.key, ''), coalesce(k.position, 0), coalesce(k.error, '')
		FROM atlas.projections p
			LEFT JOIN atlas.projection_nodes n ON n.id = p.holder AND ` + nodeLives + `
			CROSS JOIN LATERAL (
				SELECT count(*) AS events, min(position) AS next, coalesce(greatest(clock_timestamp() - min(recorded_at), '0'), '0'::interval) AS since
				FROM (SELECT recorded_at, position FROM atlas.events WHERE position > p.position ORDER BY position LIMIT $1 + 1) e
			) behind
			LEFT JOIN LATERAL (
				SELECT clock_timestamp() - a.xact_start AS age, a.pid, b.pid AS blocker, left(b.query, 200) AS query
				FROM pg_locks l
					JOIN pg_stat_activity a ON a.pid = l.pid
					LEFT JOIN pg_stat_activity b ON b.pid = (pg_blocking_pids(a.pid))[1]
				WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
					AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
					AND l.classid = $2::oid
					AND l.objid = (hashtext(p.name || '_v' || p.version || '_g' || p.generation)::bigint & 4294967295)::oid
				ORDER BY a.xact_start LIMIT 1
			) turn ON true
			LEFT JOIN LATERAL (
				SELECT k.key, k.position, k.error
				FROM atlas.projection_parked k
				WHERE p.parked > 0 AND (k.name, k.version, k.generation) = (p.name, p.version, p.generation)
				ORDER BY k.position LIMIT 1
			) k ON true
		WHERE p.state = 'live'
		ORDER BY p.name, p.version`
	rows, err := pool.Query(ctx, q, lagCounted, turnTag)
	if err != nil {
		return nil, fmt.Errorf("read the projections' lag: %w", err)
	}
	late := false
	var works []atWork
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Lag, err error) {
		var at atWork
		err = row.Scan(&l.ID.Name, &l.ID.Version, &l.Position, &l.Events, &l.Behind, &l.MovedAt, &l.Node, &l.Parked,
			&l.Error, &l.Attempts, &l.Since, &at.age, &at.pid, &at.blocker, &at.query,
			&at.next, &at.parked.Key, &at.parked.Position, &at.parked.Error)
		works, late = append(works, at), late || l.Events > 0
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the projections' lag: %w", err)
	}
	var o others
	if late {
		if o, err = readOthers(ctx, pool); err != nil {
			return nil, err
		}
	}
	for i := range all {
		all[i].Cause = all[i].cause(works[i], o)
	}
	return all, nil
}

// atWork is the transaction that folds a projection just now, and who keeps it waiting; the first event that it has not
// folded; and the first of its keys that are parked.
type atWork struct {
	age          time.Duration
	pid, blocker int
	query        string
	next         int64
	parked       Parked
}

// cause says what keeps the projection from moving, if it is behind, and what its rows lack.
func (l Lag) cause(at atWork, o others) string {
	var causes []string
	switch {
	case l.Error != "":
		causes = append(causes, "it stands still: "+l.Error)
	case l.Events == 0:
	case at.blocker != 0:
		causes = append(causes, fmt.Sprintf("its session %d waits for session %d, which runs %q", at.pid, at.blocker, oneLine(at.query)))
	case at.age > slowTurn:
		causes = append(causes, fmt.Sprintf("a batch has been folded for %s, by session %d", at.age.Round(time.Second), at.pid))
	case o.append.age > slowTurn && at.next > o.append.from:
		causes = append(causes, fmt.Sprintf("nobody may read on before an append has ended, %s", o.append))
	case o.row.age > slowTurn:
		causes = append(causes, fmt.Sprintf("its checkpoint may be locked by a transaction, %s", o.row))
	case l.Node == "":
		causes = append(causes, "no node runs it")
	}
	if l.Parked > 0 {
		causes = append(causes, fmt.Sprintf("%d parked keys lack events; the first is %s, since event %d: %s", l.Parked, at.parked.Key, at.parked.Position, at.parked.Error))
	}
	return strings.Join(causes, "; ")
}

func oneLine(query string) string { return strings.Join(strings.Fields(query), " ") }

// others are transactions that may keep projections waiting without their sessions' being seen to wait: the append that
// holds the log's readers back, and the oldest transaction that has rows of the checkpoints locked.
type others struct{ append, row session }

// session is a transaction that is open.
type session struct {
	pid   int
	age   time.Duration
	query string // that it runs, or ran last
	from  int64  // of an append: what comes after this position cannot be read
}

// String names it.
func (s session) String() string {
	return fmt.Sprintf("open for %s in session %d, whose last query is %q", s.age.Round(time.Second), s.pid, oneLine(s.query))
}

func readOthers(ctx context.Context, pool *pgxpool.Pool) (o others, err error) {
	const appending = `
		SELECT a.pid, clock_timestamp() - a.xact_start, left(a.query, 200), l.fence
		FROM (
			SELECT pid, ((classid::bigint << 32) | objid::bigint) & 281474976710655 AS fence
			FROM pg_locks
			WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 16724 -- see atlas.horizon
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		) l JOIN pg_stat_activity a USING (pid)
		WHERE a.xact_start IS NOT NULL
		ORDER BY l.fence LIMIT 1`
	const locking = `
		SELECT a.pid, clock_timestamp() - a.xact_start, left(a.query, 200), 0
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.relation = 'atlas.projections'::regclass AND l.mode <> 'AccessShareLock' AND l.granted
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND a.xact_start IS NOT NULL
		ORDER BY a.xact_start LIMIT 1`
	for q, s := range map[string]*session{appending: &o.append, locking: &o.row} {
		err := pool.QueryRow(ctx, q).Scan(&s.pid, &s.age, &s.query, &s.from)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return o, fmt.Errorf("look for who keeps projections waiting: %w", err)
		}
	}
	return o, nil
}

// Behind returns how long the oldest event that the live generation of a version has not taken has been waiting: 0 where
// there is none. It is for looking often; Lags says more.
func Behind(ctx context.Context, pool *pgxpool.Pool, id ID) (waiting time.Duration, err error) {
	const q = `
		SELECT coalesce((
			SELECT greatest(clock_timestamp() - e.recorded_at, '0') FROM atlas.events e
			WHERE e.position > p.position ORDER BY e.position LIMIT 1), '0')
		FROM atlas.projections p WHERE p.name = $1 AND p.version = $2 AND p.state = 'live'`
	if err := pool.QueryRow(ctx, q, id.Name, id.Version).Scan(&waiting); err != nil {
		return 0, fmt.Errorf("read how far %s is behind: %w", id, err)
	}
	return waiting, nil
}
