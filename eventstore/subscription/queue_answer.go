package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Answer is what became of a leased message. With nothing but a token it is a failure: see Done.
type Answer struct {
	Token     uuid.UUID
	Done      bool
	Error     string         // why it failed
	Permanent bool           // no further try will mend it: it is parked
	Delay     *time.Duration // when it is to come again; without an Error that is a wish, and counts as no try
}

// outcome is the answer in the words of the database.
func (a Answer) outcome() string {
	switch {
	case a.Done:
		return "done"
	case a.Permanent:
		return "parked"
	case a.Delay != nil && a.Error == "":
		return "delayed"
	}
	return "failed"
}

// recordedAnswer is an answer as it is recorded.
type recordedAnswer struct {
	Lease   uuid.UUID `json:"lease"`
	Outcome string    `json:"outcome"`
	Error   string    `json:"error,omitempty"`
	DelayMS *int64    `json:"delay_ms,omitempty"`
}

func (a Answer) recorded() recordedAnswer {
	r := recordedAnswer{Lease: a.Token, Outcome: a.outcome(), Error: tidy(a.Error)}
	if a.Delay != nil {
		ms := a.Delay.Milliseconds()
		r.DelayMS = &ms
	}
	if !a.Done && r.Error == "" && r.Outcome != "delayed" {
		r.Error = errNacked.Error()
	}
	return r
}

// Answer records what became of leased messages, and says of each answer whether it counts: it does not where the lease is
// over, because somebody else was given the message, or the queue was reset. The same answer again counts too, for at least
// ten minutes. It does not matter which node handed the message out.
func (l *Log) Answer(ctx context.Context, name string, answers []Answer) (counts []bool, err error) {
	asked := make([]recordedAnswer, 0, len(answers))
	first := map[uuid.UUID]bool{}
	for _, a := range answers {
		if !first[a.Token] {
			first[a.Token] = true
			asked = append(asked, a.recorded())
		}
	}
	rows, err := l.pool.Query(ctx, `SELECT token FROM atlas.answer_queue($1, $2) WHERE result = 'counts'`, name, encoded(asked))
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", name, unavailable(err))
	}
	counted, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", name, unavailable(err))
	}
	l.feeder(name).wake(len(counted)) // the streams' next messages can be handed out
	known := map[uuid.UUID]bool{}
	for _, token := range counted {
		known[token] = true
	}
	counts = make([]bool, len(answers))
	for i, a := range answers {
		counts[i] = known[a.Token]
	}
	return counts, nil
}

// Extension gives a leased message more time.
type Extension struct {
	Token    uuid.UUID
	By       time.Duration // from now on; a lease that lasts longer stays as it is
	Progress *string       // what operators are told
}

// ExtendLeases gives leased messages more time, and returns when their leases end. Those that are missing in the answer are
// over.
func (l *Log) ExtendLeases(ctx context.Context, name string, extensions []Extension) (map[uuid.UUID]time.Time, error) {
	type extension struct {
		Lease    uuid.UUID `json:"lease"`
		MoreMS   int64     `json:"more_ms"`
		Progress *string   `json:"progress,omitempty"`
	}
	asked := make([]extension, len(extensions))
	for i, e := range extensions {
		asked[i] = extension{e.Token, e.By.Milliseconds(), e.Progress}
		if e.Progress != nil {
			text := tidy(*e.Progress)
			asked[i].Progress = &text
		}
	}
	return l.tokens(ctx, `SELECT token, until FROM atlas.extend_queue($1, $2)`, name, encoded(asked))
}
