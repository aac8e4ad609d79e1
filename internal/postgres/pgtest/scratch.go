package pgtest

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// scratch is a temporary directory that outlives its process by one run at most: its lock ends with the process, and
// whoever makes the next one removes those that are unlocked.
type scratch struct {
	path string
	lock *os.File
}

const scratchPattern = "atlas-pgtest-*"

func newScratch() (*scratch, error) {
	base := scratchBase()
	sweep(base)
	path, err := os.MkdirTemp(base, scratchPattern)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		os.RemoveAll(path)
		return nil, err
	}
	return &scratch{path: path, lock: lock}, nil
}

func (s *scratch) remove() {
	os.RemoveAll(s.path)
	s.lock.Close()
}

// sweep removes what killed test processes of this user left. A directory made just now may not be locked yet.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, scratchPattern))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}

// scratchBase prefers memory, where a database is copied in a tenth of the time, unless TMPDIR says otherwise or there is
// little: containers often have 64 MB.
func scratchBase() string {
	const memory, enough = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil || uint64(fs.Bsize)*fs.Bavail < enough {
		return os.TempDir()
	}
	return memory
}

// lockDir locks the directory itself, which is there from its first moment on.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
