package subscription

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
)

// queueScenarios say what is wrong with a queue's functions, each by one rule of theirs.
func queueScenarios() map[string]func(t *testing.T, l *logtest.Log, q *Log) error {
	return map[string]func(t *testing.T, l *logtest.Log, q *Log) error{
		"zombie": func(t *testing.T, l *logtest.Log, q *Log) error {
			write(t, l, newStream(), 1)
			vanished := lease(t, q, 1)[0]
			expire(t, l)
			lease(t, q, 1)
			if answer(t, q, Answer{Token: vanished.Token, Done: true}) {
				return errors.New("the answer of one whose lease is over counts")
			}
			return nil
		},
		"lapse": func(t *testing.T, l *logtest.Log, q *Log) error {
			write(t, l, newStream(), 1)
			lease(t, q, 1)
			expire(t, l)
			if m := lease(t, q, 1)[0]; m.Attempt != 2 {
				return fmt.Errorf("after a lapse it is attempt %d", m.Attempt)
			}
			return nil
		},
		"refill": func(t *testing.T, l *logtest.Log, q *Log) error {
			stream := newStream()
			last := write(t, l, stream, 1)
			done(t, q, lease(t, q, 1)[0])
			// Another node read the same stretch, and comes second.
			late := []fedStream{{Stream: stream.String(), Position: last, Version: 1, Seen: last}}
			var counts bool
			const fill = `SELECT atlas.fill_queue('q', s.epoch, 0, $1, $2) FROM atlas.subscription_slots s WHERE s.subscription = 'q'`
			err := l.Pool.QueryRow(t.Context(), fill, last, encoded(late)).Scan(&counts)
			if err != nil {
				t.Fatal(err)
			}
			if counts {
				return errors.New("what was taken in is taken in again")
			}
			return nil
		},
		"undone": func(t *testing.T, l *logtest.Log, q *Log) error {
			write(t, l, newStream(), 1)
			lease(t, q, 1)
			if err := q.Reset(t.Context(), "q", Beginning(), false); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if got, err := q.Lease(t.Context(), "q", Ask{Most: 1, Lease: aLease, Wait: time.Second}); err != nil || len(got) > 0 {
					return err
				}
			}
			return errors.New("a message that was leased at the reset, and never done, does not come")
		},
		"wish": func(t *testing.T, l *logtest.Log, q *Log) error {
			write(t, l, newStream(), 2)
			answer(t, q, Answer{Token: lease(t, q, 1)[0].Token, Error: "no use", Permanent: true})
			if _, err := q.Retry(t.Context(), "q", Which{}); err != nil {
				t.Fatal(err)
			}
			short := time.Millisecond
			answer(t, q, Answer{Token: lease(t, q, 1)[0].Token, Delay: &short})
			if m := lease(t, q, 1)[0]; !m.Retried || m.Event.Version != 1 || m.Attempt != 2 {
				return fmt.Errorf("a retry that is wanted later is not handed out again, but version %d at attempt %d", m.Event.Version, m.Attempt)
			}
			return nil
		},
		"order": func(t *testing.T, l *logtest.Log, q *Log) error {
			write(t, l, newStream(), 2)
			done(t, q, lease(t, q, 1)[0])
			if m := lease(t, q, 1)[0]; m.Event.Version != 2 {
				return fmt.Errorf("after version 1 comes %d", m.Event.Version)
			}
			return nil
		},
	}
}

// TestTheTestsNoticeABrokenQueue breaks one rule at a time, and holds that its scenario notices.
func TestTheTestsNoticeABrokenQueue(t *testing.T) {
	t.Parallel()
	for what, m := range map[string]struct{ scenario, function, from, to string }{
		"whoever had the message may answer":       {"zombie", "answer_queue", "q.stream = l.stream AND q.lease = l.lease", "q.stream = l.stream"},
		"a lapse is no try":                        {"lapse", "answer_queue", "(j.outcome <> 'delayed')::integer", "0"},
		"a stretch is taken in twice":              {"refill", "fill_queue", "AND s.position = fill_queue.starting", ""},
		"a reset forgets what was not done":        {"undone", "reset_subscription", "AND q.seen >= q.position", "AND false"},
		"an answer leaves the stream where it was": {"order", "answer_queue", "SET position = j.position + 1, version = j.version + 1,", "SET position = j.position, version = j.version,"},
		"a wish for a delay ends a retry":          {"wish", "answer_queue", "NOT IN ('done', 'delayed')", "<> 'done'"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l, q := newQueue(t)
			mutate(t, l.Pool, m.function, m.from, m.to)
			if m.scenario == "zombie" { // a lapse is noted as an answer too, which alone would do
				mutate(t, l.Pool, m.function, "AND l.answer IS NULL", "")
			}
			if err := queueScenarios()[m.scenario](t, l, q); err == nil {
				t.Error("nobody noticed")
			}
		})
	}
	for name, scenario := range queueScenarios() {
		t.Run("whole: "+name, func(t *testing.T) {
			t.Parallel()
			l, q := newQueue(t)
			if err := scenario(t, l, q); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAProviderThatIsDownLosesNoMessageOfAQueue has every message of many streams fail twice, while a stream that does not
// need the provider goes on.
func TestAProviderThatIsDownLosesNoMessageOfAQueue(t *testing.T) {
	t.Parallel()
	const streams, each = 300, 2
	l, q := newQueue(t, func(q *Queue) { q.Retry.Attempts = -1 })
	for range streams {
		write(t, l, newStream(), each)
	}
	long := time.Hour
	for attempt := 1; attempt <= 2; attempt++ {
		for n := 0; n < streams; {
			got := lease(t, q, min(100, streams-n))
			answers := make([]Answer, len(got))
			for i, m := range got {
				if at(m) != 1 || m.Attempt != attempt {
					t.Fatalf("got version %d at attempt %d, want 1 at %d", at(m), m.Attempt, attempt)
				}
				answers[i] = Answer{Token: m.Token, Error: "503", Delay: &long}
			}
			if _, err := q.Answer(t.Context(), "q", uuid.Nil, answers); err != nil {
				t.Fatal(err)
			}
			n += len(got)
		}
		well := newStream()
		write(t, l, well, 1)
		if m := lease(t, q, 1)[0]; m.Event.Stream != well {
			t.Fatalf("got %s, want what does not need the provider", m.Event.Stream)
		} else {
			done(t, q, m)
		}
		mustExec(t, l, `UPDATE atlas.subscription_queued SET next_at = now(), due_at = now()`)
	}
	g := newLedger(t)
	for g.count() < streams*each {
		got := lease(t, q, min(100, streams*each-g.count()))
		for _, m := range got {
			g.took(m)
			g.gave(m, true)
			done(t, q, m)
		}
	}
	nothing(t, q, "when all is done")
}
