package postgres

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	superuser  = "atlas"
	socketPort = "5432" // names the socket's file; there is no TCP port
	socketFile = "/.s.PGSQL." + socketPort
	socketMax  = 103         // bytes of a socket's path on macOS; Linux allows 107
	socketArg  = "../socket" // the socket's directory as seen from the data directory: of any length, and always reachable
)

// home is where a private server lives: the directory "postgres" in Atlas's data directory.
type home struct {
	root     string
	socket   string // the socket's directory as clients name it
	shortcut string // what was made outside root to keep socket short, if anything
}

// openHome creates the directory if it is missing. It belongs to Atlas's user, so that the account of the server,
// which owns only data and socket inside, cannot plant links that Atlas would follow.
func openHome(dir string) (home, error) {
	if dir == "" {
		return home{}, errors.New("a private server needs a data directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return home{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return home{}, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return home{}, err
	}
	h := home{root: filepath.Join(dir, "postgres")}
	if err := os.Mkdir(h.root, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return home{}, err
	}
	return h, os.Chmod(h.root, 0o711)
}

func (h home) data() string    { return filepath.Join(h.root, "data") }
func (h home) lock() string    { return filepath.Join(h.root, "lock") }
func (h home) log() string     { return filepath.Join(h.root, "server.log") }
func (h home) sockets() string { return filepath.Join(h.root, "socket") }

const unfinishedPattern = "data.unfinished-*"

// unfinished lists the clusters whose making was interrupted.
func (h home) unfinished() []string {
	entries, _ := os.ReadDir(h.root) // a glob would stumble over a data directory named like a pattern
	var dirs []string
	for _, entry := range entries {
		if ok, _ := filepath.Match(unfinishedPattern, entry.Name()); ok {
			dirs = append(dirs, filepath.Join(h.root, entry.Name()))
		}
	}
	return dirs
}

// makeSocketDir makes the directory of the socket, which only the server's account and Atlas may enter: that is all
// that guards the server, as it is for the files themselves.
func (h *home) makeSocketDir(a account) error {
	dir := h.sockets()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	if err := a.own(dir); err != nil {
		return err
	}
	h.socket = dir
	if fits(dir) {
		return nil
	}
	return h.makeShortcut()
}

// fits says whether clients can name a socket in dir; they take a comma for a list of hosts.
func fits(dir string) bool {
	return len(dir)+len(socketFile) <= socketMax && !strings.Contains(dir, ",")
}

// makeShortcut gives clients a short path to the socket: a link in a private directory below the temporary one.
func (h *home) makeShortcut() error {
	name := fmt.Sprintf("atlas-%x", sha256.Sum256([]byte(h.root)))[:22]
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		dir := filepath.Join(temp, name)
		if !fits(dir + "/s") {
			continue
		}
		if err := privateDir(dir); err != nil {
			return err
		}
		h.shortcut, h.socket = dir, filepath.Join(dir, "s")
		if err := os.Remove(h.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(h.sockets(), h.socket)
	}
	return fmt.Errorf("the path of the data directory %s is too long for a socket; choose a shorter one", h.root)
}

// privateDir makes dir, or checks that the one that is there is this user's alone: anybody may write to /tmp.
func privateDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || info.Mode().Perm() != 0o700 || int(owner) != os.Geteuid() {
		return fmt.Errorf("%s is not a private directory of this user; remove it", dir)
	}
	return nil
}

func (h home) removeShortcut() {
	if h.shortcut != "" {
		os.RemoveAll(h.shortcut)
	}
}
