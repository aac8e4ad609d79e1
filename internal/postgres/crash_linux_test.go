package postgres

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestAtlas is no test: it is the Atlas that other tests run in a process of its own, to kill it.
func TestAtlas(t *testing.T) {
	dir := os.Getenv("ATLAS_TEST_DIR")
	if dir == "" {
		t.Skip("run by other tests")
	}
	s, err := Start(context.Background(), ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("serving %s\n", s.URL())
	select {}
}

// atlas runs TestAtlas in a process of its own, as the given user if there is one.
func atlas(t *testing.T, dir string, as *syscall.Credential) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if as != nil {
		self = "/proc/self/exe" // that user may not enter the directory of the test binary
	}
	cmd := exec.Command(self, "-test.run=^TestAtlas$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "ATLAS_TEST_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// serving waits for the URL of an atlas.
func serving(t *testing.T, lines *bufio.Scanner) string {
	t.Helper()
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			return url
		}
		t.Log(lines.Text())
	}
	t.Fatal("atlas ended before it served")
	return ""
}

func TestKilledAtlasLosesNothingAndLeavesNothingInTheWay(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	child, lines := atlas(t, dir, nil)
	url := serving(t, lines)
	exec1(t, url, "CREATE TABLE kept AS SELECT 'this' AS what")
	pid := postmasterPid(t, dir)

	child.Process.Kill()
	child.Wait()
	s := start(t, ServerConfig{Dir: dir})
	if serves(pid, s.home.data()) {
		t.Errorf("the server of the killed atlas, process %d, lives beside the new one", pid)
	}
	if got := query1(t, s.URL(), "SELECT what FROM kept"); got != "this" {
		t.Errorf("got %q, want this", got)
	}
}

func TestServerEndsWithAKilledAtlas(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	child, lines := atlas(t, dir, nil)
	serving(t, lines)
	pid := postmasterPid(t, dir)
	child.Process.Kill()
	child.Wait()
	eventually(t, "the server had ended", func() bool { return !serves(pid, filepath.Join(dir, "postgres", "data")) })
}

func TestNormalUserRunsAServer(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("every other test shows it")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	dir := dataDir(t)
	if err := os.Chown(filepath.Dir(dir), uid, gid); err != nil {
		t.Fatal(err)
	}
	child, lines := atlas(t, dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)})
	url := serving(t, lines)
	exec1(t, url, "CREATE TABLE kept AS SELECT 'this' AS what")

	child.Process.Kill() // and root takes over: the server stays with the owner of the files
	child.Wait()
	s := start(t, ServerConfig{Dir: dir})
	if s.account.uid != uid {
		t.Errorf("got a server of uid %d, want the owner, %d", s.account.uid, uid)
	}
	if got := query1(t, s.URL(), "SELECT what FROM kept"); got != "this" {
		t.Errorf("got %q, want this", got)
	}
}

func TestInterruptedCreationIsBegunAfresh(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	child, _ := atlas(t, dir, nil)
	eventually(t, "initdb had begun", func() bool {
		begun, _ := filepath.Glob(filepath.Join(dir, "postgres", unfinishedPattern, "base"))
		return len(begun) > 0
	})
	child.Process.Kill()
	child.Wait()
	s := start(t, ServerConfig{Dir: dir})
	if got := s.home.unfinished(); len(got) > 0 {
		t.Errorf("%v is left behind", got)
	}
}

func TestKilledServerIsRestartedThoughABackendIsBusy(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var book logBook
	s := start(t, ServerConfig{Dir: dir, Logger: book.logger()})
	exec1(t, s.URL(), "CREATE TABLE kept AS SELECT 'this' AS what")
	busy := make(chan error, 1)
	conn := connect(t, s.URL())
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 1000000000000)")
		busy <- err
	}()
	eventually(t, "the query ran", func() bool {
		return query1(t, s.URL(), "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%1000000000000)'") == "1"
	})
	kill(t, postmasterPid(t, dir))
	if err := <-busy; !IsConnectionLost(err) {
		t.Errorf("the busy session got %v, want a lost connection", err)
	}
	pool, err := Connect(context.Background(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := WaitReady(context.Background(), pool); err != nil {
		t.Fatal(err)
	}
	if got := query1(t, s.URL(), "SELECT what FROM kept"); got != "this" {
		t.Errorf("got %q, want this", got)
	}
	eventually(t, "death and restart were logged", func() bool {
		return book.has("postgres died") && book.has("postgres restarted")
	})
}

func TestServerKilledAgainAndAgainComesBack(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, throwaway(dir))
	pool, err := Connect(context.Background(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for range 3 {
		pid := postmasterPid(t, dir)
		kill(t, pid)
		eventually(t, "the dead server was replaced", func() bool {
			return pool.Ping(context.Background()) == nil && postmasterPid(t, dir) != pid
		})
	}
}

func TestStoppedServerStaysDownThoughItWasJustKilled(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, throwaway(dir))
	kill(t, postmasterPid(t, dir))
	stop(t, s)
	if left := orphans(s.home.data()); len(left) > 0 {
		eventually(t, "its processes had ended", func() bool { return len(orphans(s.home.data())) == 0 })
	}
	start(t, throwaway(dir))
}

// TestServerLeftRunningIsStopped has a server that survives its Atlas, as one does where the kernel does not end it.
func TestServerLeftRunningIsStopped(t *testing.T) {
	t.Parallel()
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	stop(t, s)
	left := exec.Command(filepath.Join(s.binaries.dir, "postgres"))
	done, err := s.account.hand(left, s.home.data())
	if err != nil {
		t.Fatal(err)
	}
	left.Args = append(left.Args, settings(s.cfg)...)
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	done()
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	eventually(t, "the server ran", func() bool { return len(orphans(s.home.data())) > 1 })

	start(t, cfg)
	if err := <-ended; err != nil {
		t.Errorf("the server left running ended with %v, want a clean stop", err)
	}
}

func TestPidFileOfAnUnrelatedProcessIsNoObstacle(t *testing.T) {
	t.Parallel()
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	text, err := os.ReadFile(filepath.Join(s.home.data(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)

	// PostgreSQL ignores processes of other users, so this one is of the server's.
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.account.other {
		stranger.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.account.uid), Gid: uint32(s.account.gid)}
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait()
	}()
	_, rest, _ := strings.Cut(string(text), "\n")
	leavePidFile(t, s, fmt.Sprintf("%d\n%s", stranger.Process.Pid, rest))

	start(t, cfg)
	if !alive(stranger.Process.Pid) {
		t.Error("the unrelated process was ended")
	}
}

func TestEmptyPidFileIsNoObstacle(t *testing.T) {
	t.Parallel()
	cfg := throwaway(dataDir(t))
	s := start(t, cfg)
	stop(t, s)
	leavePidFile(t, s, "")
	start(t, cfg)
}

func leavePidFile(t *testing.T, s *Server, text string) {
	t.Helper()
	path := filepath.Join(s.home.data(), "postmaster.pid")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.account.own(path); err != nil {
		t.Fatal(err)
	}
}
