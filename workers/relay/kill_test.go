package relay

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

var kills = flag.Int("kills", 10, "how many relays are killed by the test that kills them")

// The environment of a test binary that is a relay, until it is killed.
const (
	victimDatabase = "RELAY_TEST_DATABASE"
	victimBroker   = "RELAY_TEST_BROKER"
)

func runVictim(database, broker string) {
	ctx := context.Background()
	pool, err := postgres.Connect(ctx, database)
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	_ = New(pool, Config{URL: broker, Prefix: users.prefix, Topics: []string{topic}}, log, func(string, int) {}).Run(ctx)
}

// process starts a relay in a process of its own, killed when the test ends.
func (w *world) process() *exec.Cmd {
	w.t.Helper()
	p := exec.Command(os.Args[0])
	p.Env = append(os.Environ(), victimDatabase+"="+w.url, victimBroker+"="+w.broker.URL())
	p.Stderr = w.t.Output()
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { kill(p) })
	return p
}

func kill(p *exec.Cmd) {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// TestKilledRelaysLoseAndDoubleNothing kills one relay after the other, with SIGKILL and at random moments, while messages
// are written; another process takes over each time.
func TestKilledRelaysLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(shortWindow())
	for range *kills {
		p := w.process()
		before := w.status().Offset
		w.write(2000)
		watchtest.Eventually(t, patience, "the relay works", func() bool { return w.status().Offset > before })
		for end := time.Now().Add(rand.N(150 * time.Millisecond)); time.Now().Before(end); {
			w.write(50)
		}
		kill(p)
	}
	w.relay()
	w.awaitAll()
	w.wantEachOnceInOrder()
}

// TestARelayStoppedPastItsLeaseDoublesNothing stops a process in its tracks, in the middle of its work, lets another take the
// topic when the lease is over, and then lets the first go on with what it had in hand.
func TestARelayStoppedPastItsLeaseDoublesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(shortWindow())
	zombie := w.process()
	w.write(3000)
	watchtest.Eventually(t, patience, "the relay works", func() bool { return w.status().Offset > 0 })
	w.write(3000)
	if err := zombie.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	first := w.status()
	w.relay()
	watchtest.Eventually(t, patience, "another takes the topic", func() bool { return w.status().Epoch > first.Epoch })
	w.write(100)
	w.awaitAll()
	w.write(1000)
	if err := zombie.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.write(100)
		w.awaitAll()
	}
	w.wantEachOnceInOrder()
	if s := w.status(); s.Epoch != first.Epoch+1 {
		t.Errorf("the topic went on to epoch %d from %d, want one step", s.Epoch, first.Epoch)
	}
}

func TestAnotherRelayTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setUp(Wish{})
	stop := w.relay()
	w.write(10)
	w.awaitAll()
	other := w.process()
	first := w.status()
	stop()
	w.write(10)
	w.awaitAll()
	second := w.status()
	if second.Epoch != first.Epoch+1 || second.Holder == first.Holder {
		t.Errorf("after a clean stop the topic is %s's at epoch %d, before it was %s's at %d", second.Holder, second.Epoch, first.Holder, first.Epoch)
	}
	w.relay()
	kill(other)
	w.write(10)
	w.awaitAll()
	if s := w.status(); s.Epoch != second.Epoch+1 {
		t.Errorf("after a kill the epoch is %d, want %d", s.Epoch, second.Epoch+1)
	}
	w.wantEachOnceInOrder()
}
