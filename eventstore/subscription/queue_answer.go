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

// answerKey is what answers have in common that go together in a round.
type answerKey struct {
	name  string
	owner uuid.UUID
}

// answerCall is a request with answers in a round.
type answerCall struct {
	answers []recordedAnswer
	counts  []bool
	err     error
	done    chan struct{}
}

// Answer records what became of leased messages, and says of each answer whether it counts: it does not where the lease is
// over, because somebody else was given the message, or the queue was reset. The same answer again counts too, for at least
// ten minutes. It does not matter which node handed the message out. The queue has to be the owner's, as of QueueOf. When ctx
// ends the answers may count or not.
func (l *Log) Answer(ctx context.Context, name string, owner uuid.UUID, answers []Answer) (counts []bool, err error) {
	c := &answerCall{answers: make([]recordedAnswer, len(answers)), done: make(chan struct{})}
	for i, a := range answers {
		c.answers[i] = a.recorded()
	}
	l.answers.join(answerKey{name, owner}, c)
	select {
	case <-c.done:
		return c.counts, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("answer to %s: %w", name, ctx.Err())
	}
}

// answerRound records the answers of calls, and tells each of them which count.
func (l *Log) answerRound(key answerKey, calls []*answerCall) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
	defer cancel()
	all := []recordedAnswer{} // those that come first of their leases: another one besides is the same, or does not count
	outcomes := map[uuid.UUID]string{}
	for _, c := range calls {
		for _, a := range c.answers {
			if outcomes[a.Lease] == "" {
				outcomes[a.Lease] = a.Outcome
				all = append(all, a)
			}
		}
	}
	counted, err := l.record(ctx, key, all)
	for _, c := range calls {
		c.err = err
		c.counts = make([]bool, len(c.answers))
		for i, a := range c.answers {
			c.counts[i] = counted[a.Lease] && outcomes[a.Lease] == a.Outcome
		}
		close(c.done)
	}
}

// record records answers, each of another lease, and returns whose count.
func (l *Log) record(ctx context.Context, key answerKey, answers []recordedAnswer) (counted map[uuid.UUID]bool, err error) {
	if _, err := l.QueueOf(ctx, key.name, key.owner); err != nil {
		return nil, err
	}
	rows, err := l.pool.Query(ctx, `SELECT token FROM atlas.answer_queue($1, $2) WHERE result = 'counts'`, key.name, encoded(answers))
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", key.name, unavailable(err))
	}
	counted = map[uuid.UUID]bool{}
	var token uuid.UUID
	if _, err := pgx.ForEachRow(rows, []any{&token}, func() error { counted[token] = true; return nil }); err != nil {
		return nil, fmt.Errorf("answer to %s: %w", key.name, unavailable(err))
	}
	l.feeder(key.name).wake(len(counted)) // the streams' next messages can be handed out
	return counted, nil
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
