package postgres

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is the operating-system user the server runs as; the zero value is the user Atlas runs as.
type account struct {
	name     string
	uid, gid int
	other    bool // not the user Atlas runs as
}

// serverAccount chooses the user: PostgreSQL refuses to run as root, so for root it is the owner of the cluster, or for
// a new one postgres, or nobody on a machine without that user.
func serverAccount(data string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	if info, err := os.Stat(data); err == nil {
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 {
			name := "uid " + strconv.Itoa(int(owner.Uid))
			return account{name: name, uid: int(owner.Uid), gid: int(owner.Gid), other: true}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return namedAccount(u)
		}
	}
	return account{}, fmt.Errorf("the server must not run as root and neither the user postgres nor nobody exists; create one with `useradd --system postgres`")
}

func namedAccount(u *user.User) (account, error) {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", u.Username, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return account{name: u.Username, uid: uid, gid: gid, other: true}, nil
}

func (a account) String() string { return cmp.Or(a.name, "this user") }

// own gives the account everything at and below path, and path last: who owns it owns the rest.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	var paths []string
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(paths) {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return err
		}
	}
	return nil
}

// owns says whether path belongs to the account.
func (a account) owns(path string) bool {
	info, err := os.Stat(path)
	return !a.other || err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == a.uid
}

// hand prepares cmd to run as the account on the data directory dir. The function returned is called after Start.
//
// On Linux another account gets the directory as an open descriptor and names it /proc/self/fd/3: it works inside the
// directory without the right to walk there, so a data directory below a private home such as /root needs neither
// looser permissions on the way nor a cluster in some other place.
func (a account) hand(cmd *exec.Cmd, dir string) (done func(), err error) {
	cmd.Dir = "/"
	cmd.Env = serverEnv(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt typed at the terminal is Atlas's to handle
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	if !a.other || runtime.GOOS != "linux" {
		cmd.Args = append(cmd.Args, "-D", dir)
		return func() {}, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{f}
	cmd.Args = append(cmd.Args, "-D", "/proc/self/fd/3")
	return func() { f.Close() }, nil
}

// serverEnv keeps of Atlas's environment only what a server needs: the rest holds secrets, or settings of clients.
func serverEnv(environ []string) []string {
	keep := []string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(keep, name) {
			env = append(env, v)
		}
	}
	return env
}
