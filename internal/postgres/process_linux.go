package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel signal the process when the thread that starts it ends.
func dieWithParent(cmd *exec.Cmd, sig syscall.Signal) { cmd.SysProcAttr.Pdeathsig = sig }

// isPostmaster says whether the process is a server of this data directory.
func (s *Server) isPostmaster(pid int) bool { return serves(pid, s.home.data()) }

// orphans lists the processes of a dead server of the data directory: it is called when no server lives.
func orphans(data string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && serves(pid, data) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// serves says whether the process is a postgres that works in the data directory, as all of a server's do.
func serves(pid int, data string) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	comm, err := os.ReadFile(proc + "/comm")
	if name := strings.TrimSpace(string(comm)); err != nil || name != "postgres" && name != "postmaster" {
		return false
	}
	work, err := os.Stat(proc + "/cwd")
	if err != nil {
		return false
	}
	want, err := os.Stat(data)
	return err == nil && os.SameFile(work, want)
}
