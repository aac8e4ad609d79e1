package relay

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/natstest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

var cluster = flag.Bool("cluster", false, "also test with a cluster of three NATS servers")

// TestTheLossOfALeaderLosesAndDoublesNothing ends the server that leads the stream, three times, while messages are written.
func TestTheLossOfALeaderLosesAndDoublesNothing(t *testing.T) {
	if !*cluster {
		t.Skip("runs with -cluster")
	}
	t.Parallel()
	three := natstest.StartCluster(t, 3)
	w := newWorldWith(t, three)
	replicas, short := 3, 100*time.Millisecond
	watchtest.Eventually(t, patience, "the cluster takes a stream", func() bool {
		_, err := Setup(context.Background(), w.js, users.prefix, topic, Wish{Replicas: &replicas, Duplicates: &short})
		return err == nil
	})
	w.relay()
	for range 3 {
		for range 20 {
			w.write(200)
		}
		leader := three.Server(w.stream().CachedInfo().Cluster.Leader)
		before := w.status().Offset
		leader.Stop()
		stopped := time.Now()
		w.write(200)
		watchtest.Eventually(t, patience, "forwarding goes on", func() bool { return w.status().Offset > before })
		t.Logf("forwarding went on %v after the leader was gone", time.Since(stopped).Round(10*time.Millisecond))
		for range 10 {
			w.write(200)
		}
		w.awaitAll()
		leader.Restart()
	}
	w.write(500)
	w.awaitAll()
	w.wantEachOnceInOrder()
	t.Logf("%d messages, each once and in order", len(w.ids()))
}
