package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeInstallation writes programs that say they are of a version.
func fakeInstallation(t *testing.T, dir, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewestInstallationIsChosen(t *testing.T) {
	root := t.TempDir()
	var path []string
	for _, version := range []string{"14.20", "90.2", "90.10 (Debian 90.10-1)", "89.1"} {
		dir := filepath.Join(root, version)
		fakeInstallation(t, dir, version)
		path = append(path, dir)
	}
	t.Setenv("PATH", strings.Join(append(path, os.Getenv("PATH")), string(filepath.ListSeparator)))

	got, err := binariesFor(context.Background(), "", filepath.Join(root, "none"))
	if err != nil {
		t.Fatal(err)
	}
	if want := path[2]; got.dir != want {
		t.Errorf("got %s, want %s", got.dir, want)
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("89\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = binariesFor(context.Background(), "", data)
	if err != nil {
		t.Fatal(err)
	}
	if want := path[3]; got.dir != want {
		t.Errorf("for a cluster of 89: got %s, want %s", got.dir, want)
	}
}

func TestOldInstallationIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fakeInstallation(t, dir, "14.20")
	_, err := Start(context.Background(), ServerConfig{Dir: dataDir(t), BinDir: dir})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrNotInstalled naming %s", err, dir)
	}
}

func TestInstallCommandFitsThePlatform(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ goos, release, want string }{
		{"linux", "ID=debian\nVERSION_ID=\"12\"\n", "sudo apt-get install -y postgresql"},
		{"linux", "ID=debian\nVERSION_ID=\"11\"\n", "pgdg"},
		{"linux", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", "sudo apt-get install -y postgresql"},
		{"linux", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", "pgdg"},
		{"linux", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "sudo apt-get install -y postgresql"},
		{"linux", "ID=fedora\n", "sudo dnf install -y postgresql-server"},
		{"linux", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "sudo dnf install -y @postgresql:16/server"},
		{"linux", "ID=alpine\n", "sudo apk add postgresql17"},
		{"linux", "ID=arch\n", "sudo pacman -S --noconfirm postgresql"},
		{"linux", "", "postgresql.org/download"},
		{"darwin", "", "brew install postgresql@17"},
	} {
		if got := installCommand(row.goos, row.release); !strings.Contains(got, row.want) {
			t.Errorf("%s %q: got %s, want %s", row.goos, row.release, got, row.want)
		}
	}
}

func TestMissingPostgresIsOneSentenceWithTheCommand(t *testing.T) {
	t.Parallel()
	text := notInstalled("").Error()
	if !strings.HasPrefix(text, ErrNotInstalled.Error()) || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one sentence", text)
	}
	if os.Geteuid() == 0 && strings.Contains(text, "sudo") {
		t.Errorf("got %q, want no sudo for root", text)
	}
}

func TestOldServerIsRefusedInOneSentence(t *testing.T) {
	t.Parallel()
	if err := newEnough(150000, "15.0"); err != nil {
		t.Errorf("15.0: got %v, want none", err)
	}
	err := newEnough(140020, "14.20")
	if !errors.Is(err, ErrServerTooOld) || !strings.Contains(err.Error(), "14.20") {
		t.Errorf("14.20: got %v, want ErrServerTooOld naming it", err)
	}
}
