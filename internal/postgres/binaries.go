package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// ErrNotInstalled is a machine without PostgreSQL 15 or newer. The error's text says which command installs it.
var ErrNotInstalled = errors.New("PostgreSQL 15 or newer is not installed")

// ErrOtherMajor is a data directory that no PostgreSQL on this machine can read.
var ErrOtherMajor = errors.New("the data directory was made by another version of PostgreSQL")

const oldestMajor = 15

// binaries are the programs of one installed PostgreSQL.
type binaries struct {
	dir          string
	major, minor int
}

// binariesFor chooses the newest PostgreSQL, or for an existing cluster the one that made it: an upgrade of the machine
// that brings a newer PostgreSQL beside the old one changes nothing.
func binariesFor(ctx context.Context, binDir, data string) (binaries, error) {
	found := findBinaries(ctx, binDir)
	if len(found) == 0 {
		return binaries{}, notInstalled(binDir)
	}
	version, err := clusterVersion(data)
	if err != nil || version == "" {
		return found[0], err
	}
	for _, b := range found {
		if strconv.Itoa(b.major) == version {
			return b, nil
		}
	}
	return binaries{}, fmt.Errorf("%w: %s needs PostgreSQL %s, and only %d is installed; install %[3]s beside it, or dump there and restore here",
		ErrOtherMajor, data, version, found[0].major)
}

// findBinaries lists what is new enough, newest first.
func findBinaries(ctx context.Context, binDir string) []binaries {
	var found []binaries
	for _, dir := range binDirs(binDir) {
		b, err := inspect(ctx, dir)
		if err == nil && b.major >= oldestMajor {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b binaries) int {
		return cmp.Or(cmp.Compare(b.major, a.major), cmp.Compare(b.minor, a.minor))
	})
	return found
}

// binDirs lists where to look: the place that was set and no other, or PATH and where packages put servers.
func binDirs(binDir string) []string {
	if binDir != "" {
		return []string{binDir}
	}
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
		"/usr/pgsql-*/bin",                  // the PostgreSQL project's RPMs
		"/usr/lib/postgresql*/bin",          // SUSE
		"/usr/libexec/postgresql*",          // Alpine
		"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin", // built from source
	} {
		matches, _ := filepath.Glob(pattern)
		dirs = append(dirs, matches...)
	}
	return dirs
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// inspect asks the programs in dir for their version; initdb has to be there too.
func inspect(ctx context.Context, dir string) (binaries, error) {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, err
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("%s: no version in %q", dir, out)
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	return binaries{dir: dir, major: major, minor: minor}, nil
}
