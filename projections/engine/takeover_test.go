package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/projections/engine"
)

// victimVariable makes the test binary a process that runs the view of traces "each" of the database it names, until it
// is killed.
const victimVariable = "ENGINE_TEST_VICTIM"

func runVictim(url string) {
	ctx, log := context.Background(), slog.New(slog.NewTextHandler(os.Stderr, nil))
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
	each := []engine.Projection{traces("each", nil), traces("other", nil)}
	runner, err := engine.NewRunner(store, tail, pool, log, engine.NewWaiter(pool, log), each)
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

// holder returns the node that holds a projection, the nil UUID if nobody does.
func holder(t *testing.T, l *logtest.Log, p engine.Projection) (id uuid.UUID) {
	t.Helper()
	const q = `SELECT coalesce(holder, '00000000-0000-0000-0000-000000000000') FROM atlas.projections WHERE name = $1 AND state = 'live'`
	if err := l.Pool.QueryRow(t.Context(), q, p.ID().Name).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestEachProjectionIsFoldedByOneNode(t *testing.T) {
	t.Parallel()
	var folds atomic.Int64
	count := func(*eventstore.Recorded) { folds.Add(1) }
	l := newLog(t, traces("each", nil))
	var w *engine.Waiter
	for range 3 {
		w, _ = start(t, l.Node(t), traces("each", count))
	}
	wrote := writers(t, l, 20)
	await(t, w, wrote.last(), traces("each", nil))
	if got, want := folds.Load(), int64(len(wrote.inOrder())); got != want {
		t.Errorf("three nodes folded %d times for %d events", got, want)
	}
	requireTraced(t, l.Pool, traces("each", nil), wrote.documents)
}

// A process is killed in the middle of its work, again and again, and in the end its lease is made to last for ever: the
// next one takes over since its session is gone.
func TestAnotherNodeTakesOverWhenAProcessIsKilled(t *testing.T) {
	t.Parallel()
	each, other := traces("each", nil), traces("other", nil)
	l := newLog(t, each, other)
	stop := make(chan struct{})
	writing := sync.OnceFunc(func() { close(stop) })
	defer writing()
	done := make(chan map[uuid.UUID][]int64)
	go func() {
		stream, positions := newStream(), []int64{}
		for {
			select {
			case <-stop:
				done <- map[uuid.UUID][]int64{stream.ID: positions}
				return
			default:
				positions = append(positions, mustAppend(t, l.Store, stream, events.DocumentArchived{}))
			}
		}
	}()
	for range 3 {
		victim := exec.CommandContext(t.Context(), os.Args[0])
		victim.Env = append(os.Environ(), victimVariable+"="+l.URL)
		victim.Stderr = t.Output()
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		from := statusOf(t, l.Pool, each).Position
		watchtest.Eventually(t, time.Minute, "the process folds", func() bool { return statusOf(t, l.Pool, each).Position > from+50 })
		if err := victim.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = victim.Wait()
	}
	var dead uuid.UUID
	const q = `
		UPDATE atlas.projection_nodes SET until = 'infinity'
		WHERE id = (SELECT holder FROM atlas.projections WHERE name = 'each')
		RETURNING id`
	if err := l.Pool.QueryRow(t.Context(), q).Scan(&dead); err != nil {
		t.Fatal(err)
	}
	w, _ := start(t, l, each, other)
	watchtest.Eventually(t, time.Minute, "it is taken over", func() bool { return holder(t, l, each) != dead })
	writing()
	wrote := <-done
	for _, positions := range wrote {
		await(t, w, positions[len(positions)-1], each, other)
	}
	requireTraced(t, l.Pool, each, wrote)
	requireTraced(t, l.Pool, other, wrote)
}

func TestACleanStopGivesProjectionsBack(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	w, stop := start(t, l, each)
	await(t, w, mustAppend(t, l.Store, newStream(), created("x")), each)
	first := holder(t, l, each)
	w, _ = start(t, l.Node(t), each)
	stop()
	if h := holder(t, l, each); h == first {
		t.Error("after its node was stopped the projection is still its own")
	}
	await(t, w, mustAppend(t, l.Store, newStream(), created("y")), each)
}

// A node that does not know that it lost its turn still stands where the checkpoint does. Its epoch is what keeps it out.
func TestANodeThatLostItsTurnFoldsNothing(t *testing.T) {
	t.Parallel()
	var folds atomic.Int64
	each := traces("each", func(*eventstore.Recorded) { folds.Add(1) })
	l := newLog(t, each)
	w, _ := start(t, l, each)
	conn, err := l.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	for range 20 {
		at := mustAppend(t, l.Store, newStream(), events.DocumentArchived{})
		await(t, w, at, each)
		before := folds.Load()
		// Another, which lives, takes the projection and does nothing with it.
		const take = `
			WITH other AS (
				INSERT INTO atlas.projection_nodes (id, name, pid, session_at, until, runs)
				SELECT gen_random_uuid(), 'other', a.pid, a.backend_start, 'infinity', '{}' FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
				RETURNING id
			)
			UPDATE atlas.projections SET holder = (SELECT id FROM other), epoch = epoch + 1 WHERE name = 'each'`
		if _, err := conn.Exec(t.Context(), take); err != nil {
			t.Fatal(err)
		}
		at = mustAppend(t, l.Store, newStream(), events.DocumentArchived{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := w.Wait(ctx, at, each.ID()); !errors.Is(err, engine.ErrLagging) {
			t.Fatalf("waiting for %d while nobody folds: got %v, want ErrLagging", at, err)
		}
		cancel()
		if got := folds.Load(); got != before {
			t.Fatalf("a node that lost its turn folded %d events", got-before)
		}
		if _, err := conn.Exec(t.Context(), `DELETE FROM atlas.projection_nodes WHERE name = 'other'`); err != nil {
			t.Fatal(err)
		}
		await(t, w, at, each)
	}
}

// wire carries connections to the database until it is cut. Then neither end hears of the other any more.
type wire struct {
	net.Listener
	mu   sync.Mutex
	ends []net.Conn
	cut  chan struct{}
}

// newWire returns a wire and the URL of the database at its near end.
func newWire(t *testing.T, to string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	network, address := "tcp", u.Host
	if dir := u.Query().Get("host"); dir != "" {
		port := u.Query().Get("port")
		if port == "" {
			port = "5432"
		}
		network, address = "unix", dir+"/.s.PGSQL."+port
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener, cut: make(chan struct{})}
	t.Cleanup(w.close)
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, address)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.ends = append(w.ends, near, far)
			w.mu.Unlock()
			go w.carry(near, far)
			go w.carry(far, near)
		}
	}()
	q := u.Query()
	q.Del("host")
	q.Del("port")
	u.RawQuery, u.Host = q.Encode(), listener.Addr().String()
	return w, u.String()
}

func (w *wire) carry(to, from net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		select {
		case <-w.cut:
			return // with both ends open
		default:
		}
		if err != nil {
			to.Close()
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (w *wire) close() {
	w.Listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.ends {
		_ = end.Close()
	}
}

func TestANodeThatIsCutOffLosesItsProjectionsWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	each := traces("each", nil)
	l := newLog(t, each)
	through, at := newWire(t, l.URL)
	far := l.NodeAt(t, at)
	w, _ := start(t, far, each)
	stream := newStream()
	want := []int64{mustAppend(t, l.Store, stream, events.DocumentArchived{})}
	await(t, w, want[0], each)
	cut := holder(t, l, each)
	close(through.cut)
	// What is left of its ten seconds is no more than a second from here on.
	const hasten = `
		UPDATE atlas.projection_nodes n SET until = clock_timestamp() + interval '1 second'
		FROM atlas.projection_nodes was WHERE n.id = $1 AND was.id = n.id
		RETURNING was.until - clock_timestamp()`
	var left time.Duration
	if err := l.Pool.QueryRow(t.Context(), hasten, cut).Scan(&left); err != nil || left > 10*time.Second {
		t.Errorf("a node that is cut off has %s left (%v), want ten seconds at most", left, err)
	}
	near, _ := start(t, l, each)
	want = append(want, mustAppend(t, l.Store, stream, events.DocumentArchived{}))
	await(t, near, want[1], each)
	var late bool
	const q = `SELECT until < clock_timestamp() FROM atlas.projection_nodes WHERE id = $1`
	if err := l.Pool.QueryRow(t.Context(), q, cut).Scan(&late); err != nil || !late {
		t.Errorf("it was taken over before its time was up (%v)", err)
	}
	requireTraced(t, l.Pool, each, map[uuid.UUID][]int64{stream.ID: want})
	through.close()
}
