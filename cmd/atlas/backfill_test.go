package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/workers/outbox"
)

func TestABackfillWhoseCommandIsEndedSaysWhoGoesOn(t *testing.T) {
	t.Parallel()
	cfg, log, err := settings(newOperator(t).on(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), cfg, log, true)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	b := outbox.NewBackfiller(n.pool, n.store, outbox.Catalog(), n.log)
	if err := b.Start(t.Context(), "documents", nil, 0); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	err = finishBackfill(ended, n, b, io.Discard, "documents")
	if err == nil || !strings.HasPrefix(err.Error(), "left to the nodes") || !strings.HasSuffix(err.Error(), "atlas outbox backfill documents --cancel") {
		t.Errorf("got %v, want who goes on, and how to end it", err)
	}
}
