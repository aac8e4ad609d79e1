package eventstore_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
)

var pgbouncer = flag.String("pgbouncer", "pgbouncer", "the pgbouncer to test with")

// behindPooler starts a pgbouncer in transaction mode before the server of the URL and returns the URL by way of it.
func behindPooler(t *testing.T, direct string) string {
	t.Helper()
	program, err := exec.LookPath(*pgbouncer)
	if err != nil {
		t.Skip("pgbouncer is not installed; -pgbouncer names one")
	}
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pooler-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := fmt.Sprintf(`
[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = any
pool_mode = transaction
default_pool_size = 5
ignore_startup_parameters = default_transaction_isolation,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count
`, dir, u.Query().Get("port"), u.User.Username(), dir)
	passOn(t, filepath.Join(dir, ".s.PGSQL."+u.Query().Get("port")), filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port")))
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, file)
	asOwnerOf(t, cmd, u.Query().Get("host"), dir)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return fmt.Sprintf("postgres://%s@%s?host=%s&port=6432&default_query_exec_mode=cache_describe", u.User.Username(), u.Path, dir)
}

// passOn makes a socket that leads to the server's, which lies where only the tests' own user may go.
func passOn(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(from, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", to)
			if err != nil {
				client.Close()
				continue
			}
			go func() { io.Copy(server, client); server.Close() }()
			go func() { io.Copy(client, server); client.Close() }()
		}
	}()
}

// asOwnerOf runs the program as the user the server runs as, since it refuses to run as root, and gives that user dir.
func asOwnerOf(t *testing.T, cmd *exec.Cmd, socket, dir string) {
	t.Helper()
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
}

// TestTheLogWorksBehindATransactionPooler appends and reads by way of a pgbouncer that gives each transaction another
// session. The pooler must be told to ignore the session settings Atlas asks for, and the driver not to use named
// prepared statements; no notification comes through, so that readers poll.
func TestTheLogWorksBehindATransactionPooler(t *testing.T) {
	t.Parallel()
	direct := logtest.New(t)
	pooled := behindPooler(t, direct.URL)
	pool, err := postgres.Connect(t.Context(), pooled)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := postgres.WaitReady(ctx, pool); err != nil {
		t.Fatal(err)
	}
	nodes := []*logtest.Log{direct.NodeAt(t, pooled), direct.NodeAt(t, pooled)}
	live := nodes[1].Tail.From(0, eventstore.Filter{})
	var wg sync.WaitGroup
	shared := newStream()
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				stream := shared
				if i%2 == 0 {
					stream = newStream()
				}
				if _, err := nodes[w%2].Store.Append(t.Context(), creation(stream)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	tx, slow := openAppend(t, nodes[0], newStream())
	requireHeldBack(t, nodes[1], slow)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	committed := map[int64]bool{}
	rows, err := direct.Pool.Query(t.Context(), `SELECT position FROM atlas.events`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(list) != 81 {
		t.Fatalf("the log holds %d events (%v), want 81", len(list), err)
	}
	for _, p := range list {
		committed[p] = true
	}
	requireOnceInOrder(t, "a reader behind the pooler", committed, follow(t, live, 81))
}
