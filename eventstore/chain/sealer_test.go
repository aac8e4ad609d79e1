package chain_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

func TestWhatIsSealedVerifies(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 3)
	l.burn(t, 5)
	l.write(t, 4)
	_, last := l.write(t, 1)
	l.burn(t, 2)
	l.seal(t, 3)
	r := l.verifyWith(t, l.heads(t))
	wantSound(t, r, 8)
	if r.Blocks != 3 || r.Heads != 3 || r.Sealed != last || len(r.Chains) != 1 || r.Chains[0].Blocks != 3 {
		t.Errorf("report %+v, want 3 blocks and heads in one chain up to position %d, where the last event is", r, last)
	}
	l.write(t, 2)
	if r := l.verify(t); r.Unsealed.Events != 2 || r.Unsealed.First <= last || r.Found != 0 {
		t.Errorf("unsealed %+v, findings %v, want the 2 events above %d and none", r.Unsealed, r.Findings, last)
	}
}

func TestAnEmptyLogVerifies(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	wantSound(t, l.verify(t), 0)
	l.burn(t, 3)
	l.seal(t, 3)
	wantSound(t, l.verify(t), 0)
}

func TestNothingIsSealedBeyondAnOpenAppend(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	ctx := context.Background()
	tx, err := l.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	const fence = `SELECT pg_advisory_xact_lock_shared(atlas.lock_key('fence', last_value)) FROM atlas.events_position`
	if _, err := tx.Exec(ctx, fence); err != nil {
		t.Fatal(err)
	}
	l.write(t, 2)
	l.seal(t, 10)
	if r := l.verify(t); r.Blocks != 0 || r.Unsealed.Events != 2 {
		t.Errorf("%d blocks while an append is open below, want none", r.Blocks)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	l.seal(t, 10)
	wantSound(t, l.verify(t), 2)
}

func TestSealersThatRaceMakeOneChain(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	ctx, stop := context.WithCancel(context.Background())
	var sealers sync.WaitGroup
	for range 4 {
		node := l.Node(t)
		s := chain.NewSealer(node.Pool, slog.New(slog.DiscardHandler), l.signer, func(chain.Head) {}).Every(0, 7)
		sealers.Go(func() { s.Run(ctx) })
	}
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 20 {
				l.write(t, 3)
				l.burn(t, 1)
			}
		})
	}
	writers.Wait()
	watchtest.Eventually(t, 20*time.Second, "all is sealed", func() bool { return l.verify(t).Unsealed.Events == 0 })
	stop()
	sealers.Wait()
	wantSound(t, l.verifyWith(t, l.heads(t)), 240)
}

func TestASmallBlockIsSealedWithinItsTime(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	heads := make(chan chain.Head, 10)
	s := chain.NewSealer(l.Pool, slog.New(slog.DiscardHandler), l.signer, func(h chain.Head) { heads <- h })
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() { stop(); <-done }()
	for range 2 { // the second waits for its second
		_, last := l.write(t, 1)
		select {
		case h := <-heads:
			if h.Last != last || h.Events != 1 || h.Check(l.signer.Public()) != nil {
				t.Errorf("head %+v, want one signed for the event at %d", h, last)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no head within ten seconds")
		}
	}
}

func TestAnImportBeginsAChain(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 2)
	l.seal(t, 10)
	l.write(t, 1)
	id, err := chain.Start(context.Background(), l.Pool, "import of another log")
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, 2)
	l.seal(t, 2)
	r := l.verifyWith(t, l.heads(t))
	wantSound(t, r, 5)
	if len(r.Chains) != 2 || r.Chains[1].ID != id.String() || r.Chains[1].Reason != "import of another log" || r.Chains[0].Blocks != 1 || r.Chains[1].Blocks != 2 {
		t.Errorf("chains %+v, want a second one with 2 of 3 blocks and its reason", r.Chains)
	}
	l.tamper(t, `UPDATE atlas.chains SET reason = 'nothing happened' WHERE number = 2`)
	if r := l.verify(t); r.Found != 1 || r.Findings[0].Kind != chain.LinkBroken || r.Findings[0].Block != 2 {
		t.Errorf("findings %v, want that the chain's beginning is not what its first block follows", r.Findings)
	}
}

func TestARunningSealerNoticesThatTheChainWasRewritten(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	s := l.sealer(10)
	l.write(t, 1)
	if _, err := s.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.tamper(t, `DELETE FROM atlas.chain_blocks`)
	if _, err := s.Seal(context.Background()); !errors.Is(err, chain.ErrRewritten) {
		t.Errorf("got %v, want ErrRewritten", err)
	}
	if head, err := s.Seal(context.Background()); err != nil || head == nil {
		t.Errorf("got %v, %v: it complains once and goes on", head, err)
	}
}

const childURL = "ATLAS_CHAIN_TEST_URL"

// sealForEver is a process of its own that seals, one event to the block, until it is killed.
func sealForEver(url string) int {
	ctx := context.Background()
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signer, err := chain.NewSigner(make([]byte, 32))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s := chain.NewSealer(pool, slog.New(slog.NewTextHandler(os.Stderr, nil)), signer, func(chain.Head) {}).Every(0, 1)
	s.Run(ctx)
	return 0
}

func TestAKilledSealerLeavesAChainThatOthersLengthen(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 3000)
	for kill := range int64(3) {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childURL+"="+l.URL)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		watchtest.Eventually(t, 20*time.Second, "the child seals", func() bool {
			var blocks int64
			if err := l.Pool.QueryRow(context.Background(), `SELECT count(*) FROM atlas.chain_blocks`).Scan(&blocks); err != nil {
				t.Fatal(err)
			}
			return blocks > 50*(kill+1)
		})
		child.Process.Kill()
		child.Wait()
	}
	watchtest.Eventually(t, 20*time.Second, "the dead one's lock is gone", func() bool {
		head, err := l.sealer(1000).Seal(context.Background())
		return err == nil && head != nil
	})
	l.seal(t, 1000)
	wantSound(t, l.verify(t), 3000)
}
