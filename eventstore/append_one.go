package eventstore

import (
	"context"
	"fmt"
)

// isOne says whether the statement is the common case, one event for one stream. A later try of an append that made its
// own command id is none: only atlas.append asks for what an earlier try has done.
func (st *statement) isOne() bool {
	return len(st.streams) == 1 && len(st.ids) == 1 && (st.command.Given || !st.ask)
}

// runOne executes a statement of one event by the shorter way. It is done unless somebody holds what it needs, or the
// command or a new stream is not new: then nothing was written, and the longer way knows the answer.
func (st *statement) runOne(ctx context.Context, q querier) (o Outcome, done bool, err error) {
	const call = `SELECT atlas.append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	var answer []int64
	err = q.QueryRow(ctx, call, uuidValue(st.command.ID), st.ask, st.part, st.command.Fingerprint, st.metadata,
		st.streams[0], st.expected[0], uuidValue(st.ids[0]), st.types[0], st.schemas[0], st.data[0],
		optionalValue(st.subjects[0]), st.sealed[0], st.secrets[0],
	).Scan(&answer)
	switch {
	case err != nil:
		return Outcome{}, false, fmt.Errorf("append: %w", err)
	case len(answer) == 0:
		return Outcome{}, false, nil
	case len(answer) == 1:
		return Outcome{}, true, &ErrVersion{Stream: st.targets[0], Expected: st.expected[0], Actual: answer[0]}
	}
	return Outcome{Streams: []StreamOutcome{
		{Stream: st.targets[0], Version: answer[0], Position: answer[1], Events: 1},
	}}, true, nil
}

// earlierTry finds out whether an append whose command is not recorded lost its race to an earlier try of its own: then
// the first of its events is at the version that the append would have given it. Else it returns lost.
func (s *Store) earlierTry(ctx context.Context, st *statement, lost error) (Outcome, error) {
	const q = `SELECT position FROM atlas.events WHERE stream = $1 AND version = $2 AND id = $3`
	o := Outcome{Streams: make([]StreamOutcome, 0, len(st.order)), Replayed: true}
	for _, index := range st.order {
		i := index - 1
		to := StreamOutcome{Stream: st.targets[i], Version: st.expected[i] + int64(st.events[i]), Events: int64(st.events[i])}
		found, err := queryMaybe(ctx, s.pool, q, []any{st.streams[i], to.Version, uuidValue(st.ids[st.lasts[i]-1])}, &to.Position)
		if err != nil {
			return Outcome{}, err
		}
		if !found {
			return Outcome{}, lost
		}
		o.Streams = append(o.Streams, to)
	}
	return o, nil
}
