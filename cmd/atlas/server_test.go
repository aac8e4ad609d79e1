package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// dataDir returns the path of a data directory that does not exist yet. What runs in it when the test ends is ended.
func dataDir(t testing.TB) string {
	t.Helper()
	parent, err := openDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "data")
	t.Cleanup(func() {
		endServer(t, dir)
		os.RemoveAll(parent)
	})
	return dir
}

// endServer ends the private server of a data directory, which outlives a killed Atlas for a moment.
func endServer(t testing.TB, dir string) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		for _, pid := range serverProcesses(dir) {
			syscall.Kill(pid, signal)
		}
		if watchtest.Holds(20*time.Second, func() bool { return len(serverProcesses(dir)) == 0 }) {
			return
		}
	}
	t.Errorf("processes %v of %s cannot be ended", serverProcesses(dir), dir)
}

// serverProcesses lists the processes of a data directory's server: those that work in it, where the system tells, else
// its postmaster.
func serverProcesses(dir string) (pids []int) {
	if runtime.GOOS != "linux" {
		if pid := postmaster(dir); pid > 0 && syscall.Kill(pid, 0) == nil {
			pids = append(pids, pid)
		}
		return pids
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		cwd, err := os.Readlink(p + "/cwd")
		if pid, bad := strconv.Atoi(filepath.Base(p)); err == nil && bad == nil && cwd == filepath.Join(dir, "postgres", "data") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// postmaster returns the main process of a data directory's server by its pid file, or 0.
func postmaster(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	pid, _ := strconv.Atoi(string(first))
	return pid
}

// killServer kills the main process of a data directory's server, and returns its id.
func killServer(t testing.TB, dir string) int {
	t.Helper()
	pid := postmaster(dir)
	if !slices.Contains(serverProcesses(dir), pid) {
		t.Fatalf("process %d is no server of %s", pid, dir)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return pid
}
