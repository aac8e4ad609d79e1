package chain_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/atlas-platform/atlas/eventstore/chain"
)

func TestTheLagIsTheAgeOfTheOldestEventThatIsNotSealed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := newLog(t)
	lags := func(want bool) {
		t.Helper()
		if lag, err := chain.Lag(ctx, l.Pool); err != nil || lag > 0 != want {
			t.Errorf("the lag is %v (%v), want some: %t", lag, err, want)
		}
	}
	lags(false)
	l.write(t, 3)
	lags(true)
	sealer := chain.NewSealer(l.Pool, slog.New(slog.DiscardHandler), l.signer, func(chain.Head) {})
	if head, err := sealer.Seal(ctx); err != nil || head == nil {
		t.Fatalf("got %v, %v, want a block", head, err)
	}
	lags(false)
	l.write(t, 1)
	lags(true)
}
