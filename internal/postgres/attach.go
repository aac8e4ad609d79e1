package postgres

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNotRunning says that no private server runs in a data directory.
var ErrNotRunning = errors.New("no Atlas with a private server runs on this data directory")

// Attach returns the connection string of the private server that another process of this user runs for a data
// directory, so that a command can work beside it.
func Attach(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	h := home{root: filepath.Join(dir, "postgres")}
	for _, socket := range h.socketCandidates() {
		if _, err := os.Stat(socket + socketFile); err == nil {
			h.socket = socket
			return (&Server{home: h}).URL(), nil
		}
	}
	return "", fmt.Errorf("%w (%s)", ErrNotRunning, dir)
}

// socketCandidates lists where clients of a server in this home may find its socket.
func (h home) socketCandidates() (dirs []string) {
	if fits(h.sockets()) {
		return []string{h.sockets()}
	}
	name := fmt.Sprintf("atlas-%x", sha256.Sum256([]byte(h.root)))[:22]
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		dirs = append(dirs, filepath.Join(temp, name, "s"))
	}
	return dirs
}
