package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

// appendTimeout bounds one append, lock waits and commit included.
const appendTimeout = 15 * time.Second

// Append adds events to one or several streams: all of the writes or none. The command and the metadata come from the
// context.
//
// A stream that is not at its expected version is an *ErrVersion. A command that was carried out before writes nothing
// and returns its first outcome. A connection lost on the way is resolved by trying the same command again, which
// carries it out once; if the database stays away the answer is ErrOutcomeUnknown, or ErrUnavailable where nothing can
// have happened. Once sent, an append is not given up when ctx ends, since its outcome would be unknown.
func (s *Store) Append(ctx context.Context, writes ...Write) (Outcome, error) {
	st, err := s.prepare(ctx, CommandFrom(ctx), writes)
	if err != nil {
		return Outcome{}, err
	}
	o, err := s.lanes.append(ctx, st)
	if err != nil {
		return Outcome{}, err
	}
	s.announce()
	return o, nil
}

// AppendTx is Append inside a transaction of the caller's, which must be READ COMMITTED and short: from here until it
// ends, readers of the log see nothing newer. Call it last, once, and not inside a savepoint: rolling back to one would
// release the fence. After the commit the caller calls Announce.
func (s *Store) AppendTx(ctx context.Context, tx pgx.Tx, writes ...Write) (Outcome, error) {
	st, err := s.prepare(ctx, CommandFrom(ctx), writes)
	if err != nil {
		return Outcome{}, err
	}
	o, err := st.run(ctx, &bounded{Tx: tx}, true)
	return o, actionable(err)
}

// Announce wakes whoever follows the log. Append does so itself.
func (s *Store) Announce() { s.announce() }

// execute runs the statement until its outcome is known, the same command each time. If it is not to be patient, it is errBusy
// where somebody holds what it needs. The context must not be a caller's, whose end would leave the outcome unknown.
func (s *Store) execute(ctx context.Context, st *statement, patient bool) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	parted := false // a part was made
	for attempt := 1; ; attempt++ {
		o, sent, err := s.try(ctx, st, patient)
		if st.unknown && st.part == unrecorded && errors.As(err, new(*ErrVersion)) {
			o, err = s.earlierTry(ctx, st, err)
		}
		switch {
		case err == nil || isAnswer(err):
			return o, err
		case hasState(err, "40P01"): // deadlock: we were the victim, nothing was written
		case hasState(err, "23514") && !parted: // no part for the position drawn
			if _, err := s.pool.Exec(ctx, `SELECT atlas.ensure_parts()`); err != nil {
				return Outcome{}, fmt.Errorf("make a part of the log: %w", err)
			}
			parted = true
		case postgres.IsConnectionLost(err) || errors.Is(err, context.DeadlineExceeded):
			sent = sent && !hasState(err, "25006") // a server that only reads has written nothing
			st.unknown = st.unknown || sent
			st.ask = st.ask || sent
		case hasState(err, "23505"): // an earlier try of this very command was carried out after all
			st.ask = true
		case st.unknown:
			return Outcome{}, fmt.Errorf("append: %w (%w)", ErrOutcomeUnknown, err)
		default:
			return Outcome{}, actionable(err)
		}
		if pause(ctx, attempt) == nil {
			continue
		}
		if st.unknown {
			return Outcome{}, fmt.Errorf("append: %w (%w)", ErrOutcomeUnknown, err)
		}
		return Outcome{}, fmt.Errorf("append: %w (%w)", ErrUnavailable, err)
	}
}

// try executes the statement once. sent tells that it may have reached the server.
func (s *Store) try(ctx context.Context, st *statement, patient bool) (o Outcome, sent bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return Outcome{}, false, err
	}
	defer conn.Release()
	o, err = st.run(ctx, conn, patient)
	if hasState(err, "25006") { // it was the primary when we connected
		conn.Conn().Close(ctx)
	}
	return o, !pgconn.SafeToRetry(err), err
}

// isAnswer says whether err tells what became of the command, whatever tries of it were lost before.
func isAnswer(err error) bool {
	var lost *ErrVersion
	return errors.As(err, &lost) || errors.Is(err, ErrCommandReused) || errors.Is(err, errBusy)
}

// pause waits before the next attempt, a little longer each time, and gives up after five or when ctx ends.
func pause(ctx context.Context, attempt int) error {
	if attempt > 5 {
		return errors.New("too many attempts")
	}
	wait.For(ctx, time.Duration(attempt*attempt)*20*time.Millisecond)
	return ctx.Err()
}

// errBusy says that somebody else holds the command or a stream, and nothing was written.
var errBusy = errors.New("held by another append")

// run executes the statement once.
func (st *statement) run(ctx context.Context, q querier, patient bool) (Outcome, error) {
	if st.isOne() {
		if o, done, err := st.runOne(ctx, q); done || err != nil {
			return o, err
		}
	}
	return st.runAny(ctx, q, patient)
}

// runAny executes a statement of any kind.
func (st *statement) runAny(ctx context.Context, q querier, patient bool) (Outcome, error) {
	const call = `
		SELECT status, outcome
		FROM atlas.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`
	var status string
	var raw []byte
	err := q.QueryRow(ctx, call, patient, uuidValue(st.command.ID), st.ask, st.part, st.command.Fingerprint, st.metadata,
		st.streams, st.expected, st.events, st.lasts, st.order,
		st.eventStreams, st.numbers, uuidArray(st.ids), st.types, st.schemas, st.data, optionalArray(st.subjects), st.sealed, st.secrets,
	).Scan(&status, &raw)
	if err != nil {
		return Outcome{}, fmt.Errorf("append: %w", err)
	}
	switch status {
	case "again":
		return st.runAny(ctx, q, patient)
	case "busy":
		return Outcome{}, errBusy
	case "reused":
		return Outcome{}, ErrCommandReused
	case "version":
		return Outcome{}, st.lostRace(raw)
	}
	o, err := parseOutcome(raw)
	o.Replayed = status == "replayed"
	return o, err
}

// lostRace turns the one stream of the outcome into an *ErrVersion.
func (st *statement) lostRace(raw []byte) error {
	o, err := parseOutcome(raw)
	if err != nil {
		return err
	}
	lost := o.Streams[0]
	for i, name := range st.streams {
		if name == lost.Stream.String() {
			return &ErrVersion{Stream: lost.Stream, Expected: st.expected[i], Actual: lost.Version}
		}
	}
	return fmt.Errorf("append: the log names %s, which was not written to", lost.Stream)
}

// actionable makes of a failure that a caller can act on a fault, and leaves others alone.
func actionable(err error) error {
	switch {
	case hasState(err, "55P03"): // somebody has held a stream for longer than anybody waits
		return fmt.Errorf("%w (%w)", fault.ErrBusy.RetryAfter(time.Second), err)
	case hasState(err, "AT005"):
		return fmt.Errorf("%w (%w)", ErrImporting.RetryAfter(30*time.Second), err)
	}
	return unavailable(err)
}

// hasState says whether the server answered with the SQLSTATE.
func hasState(err error, state string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == state
}
