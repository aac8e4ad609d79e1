package outbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/projections/engine"
)

// victimVariable makes the test binary a process that runs the outbox of the database it names, until it is killed.
const victimVariable = "OUTBOX_TEST_VICTIM"

func runVictim(url string) {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		panic(err)
	}
	vocabulary, err := events.NewVocabulary(events.Catalog()...)
	if err != nil {
		panic(err)
	}
	store := eventstore.New(pool, vocabulary, nothingSealed{})
	tail := eventstore.NewTail(store, eventstore.NewWaker(store, log), log)
	runner, err := engine.NewRunner(store, tail, pool, log, engine.NewWaiter(pool, log), []engine.Projection{Projection()})
	if err != nil {
		panic(err)
	}
	go func() { _ = tail.Run(ctx) }()
	_ = runner.Run(ctx)
}

// nothingSealed serves a log without personal data.
type nothingSealed struct{}

var errSealed = errors.New("this log should hold nothing personal")

func (nothingSealed) Seal(context.Context, []*eventstore.Envelope) error { return errSealed }
func (nothingSealed) Open(context.Context, []*eventstore.Envelope) error { return errSealed }

// TestKilledProcessesLoseAndRepeatNothing kills, with SIGKILL, one process after the other that works on a backlog.
func TestKilledProcessesLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	p := Projection()
	l := newLog(t, p)
	var last int64
	for range 30 {
		archived := make([]events.Event, 100)
		for i := range archived {
			archived[i] = events.DocumentArchived{}
		}
		last = mustAppend(t, l.Store, newStream("document"), archived...)
	}
	for kill := range 3 {
		victim := exec.CommandContext(t.Context(), os.Args[0])
		victim.Env = append(os.Environ(), victimVariable+"="+l.URL)
		victim.Stderr = t.Output()
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		for written := 0; written < 700*(kill+1); {
			if err := l.Pool.QueryRow(t.Context(), `SELECT count(*) FROM outbox.documents`).Scan(&written); err != nil {
				t.Fatal(err)
			}
		}
		if err := victim.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = victim.Wait()
	}
	wait(t, start(t, l, p), last, p)
	wantEachOnceInOrder(t, l, "document", Documents)
}
