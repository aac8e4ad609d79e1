package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRowsOutliveARestart(t *testing.T) {
	t.Parallel()
	cfg := ServerConfig{Dir: dataDir(t)}
	first := start(t, cfg)
	exec1(t, first.URL(), "CREATE TABLE kept AS SELECT 'this' AS what")
	pid := postmasterPid(t, cfg.Dir)
	stop(t, first)
	if alive(pid) {
		t.Errorf("process %d of a stopped server lives", pid)
	}
	second := start(t, cfg)
	if got := query1(t, second.URL(), "SELECT what FROM kept"); got != "this" {
		t.Errorf("got %q, want this", got)
	}
	if first.URL() != second.URL() {
		t.Errorf("got URL %s after a restart, want %s", second.URL(), first.URL())
	}
}

func TestServerIsDurableAndPrivate(t *testing.T) {
	t.Parallel()
	s := start(t, ServerConfig{Dir: dataDir(t)})
	want := map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
		"listen_addresses": "", "server_encoding": "UTF8", "TimeZone": "UTC",
		"max_connections": "100", "max_locks_per_transaction": "256",
	}
	got := map[string]string{}
	for name := range want {
		got[name] = query1(t, s.URL(), "SELECT current_setting('"+name+"')")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := query1(t, s.URL(), "SELECT datcollate FROM pg_database WHERE datname = current_database()"); got != "C" {
		t.Errorf("got collation %s, want C", got)
	}
	info, err := os.Stat(s.home.socket)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("got mode %o on the socket's directory, want 700", got)
	}
}

func TestServerOfRootRunsUnprivilegedBelowAPrivateHome(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := dataDir(t)
	info, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o700 || owner != 0 {
		t.Fatalf("the directory above has mode %o and owner %d, the test needs a private one of root", info.Mode().Perm(), owner)
	}
	start(t, throwaway(dir))
	proc, err := os.Stat("/proc/" + strconv.Itoa(postmasterPid(t, dir)))
	if err != nil {
		t.Fatal(err)
	}
	if proc.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Error("the server runs as root")
	}
}

func TestClusterRestoredByRootIsGivenBack(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	stop(t, s)
	if err := (account{other: true}).own(s.home.data()); err != nil { // to root
		t.Fatal(err)
	}
	start(t, cfg)
}

func TestAnyPathHasASocket(t *testing.T) {
	t.Parallel()
	for _, name := range []string{strings.Repeat("long", 40), "a,b", "a b?c=d&e%41"} {
		t.Run(name[:3], func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(dataDir(t), name)
			s := start(t, throwaway(dir))
			if got := query1(t, s.URL(), "SELECT current_database()"); got != "atlas" {
				t.Errorf("got database %s, want atlas", got)
			}
			stop(t, s)
			if _, err := os.Stat(s.home.shortcut); s.home.shortcut != "" && err == nil {
				t.Errorf("%s is left behind", s.home.shortcut)
			}
		})
	}
}

func TestShortcutOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "atlas")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, link} {
		if err := privateDir(dir); err == nil {
			t.Errorf("%s was taken for a private directory", dir)
		}
	}
}

func TestSecondAtlasIsTurnedAway(t *testing.T) {
	t.Parallel()
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	_, err := Start(context.Background(), cfg)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want ErrInUse with process %d", err, os.Getpid())
	}
	stop(t, s)
	start(t, cfg)
}

func TestLogHoldsNoValues(t *testing.T) {
	t.Parallel()
	s := start(t, throwaway(dataDir(t)))
	conn := connect(t, s.URL())
	exec1(t, s.URL(), "CREATE TABLE people (email text CONSTRAINT people_email_key UNIQUE)")
	const q = "INSERT INTO people (email) VALUES ($1)"
	for range 2 {
		conn.Exec(context.Background(), q, "ann@example.com")
	}
	conn.Exec(context.Background(), "SELECT 'ann@example.com'::int")
	log, err := os.ReadFile(s.home.log())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "people_email_key") {
		t.Errorf("the violated constraint is not in the log:\n%s", log)
	}
	for _, secret := range []string{"INSERT", "(ann", "(email)"} {
		if strings.Contains(string(log), secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
}

func TestFailedStartQuotesTheLog(t *testing.T) {
	t.Parallel()
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	stop(t, s)
	conf := filepath.Join(s.home.data(), "postgresql.conf")
	if err := os.WriteFile(conf, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(context.Background(), cfg)
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v, want what the server wrote to its log", err)
	}
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, cfg) // a failed start holds on to nothing
}

func TestClusterOfAnotherMajorIsRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	data := filepath.Join(dir, "postgres", "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(context.Background(), ServerConfig{Dir: dir})
	if !errors.Is(err, ErrOtherMajor) || !strings.Contains(err.Error(), "PostgreSQL 9") {
		t.Errorf("got %v, want ErrOtherMajor naming PostgreSQL 9", err)
	}
}
