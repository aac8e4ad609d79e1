package main_test

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
)

func TestATakenPortIsRefusedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	for _, setting := range []string{"ATLAS_ADDR", "ATLAS_OPS_ADDR"} {
		dir := dataDir(t)
		o := atlas(t, append(onFreePorts([]string{"ATLAS_DATA_DIR=" + dir}), setting+"="+addr), "serve")
		o.wants(t, 2, setting, addr, "in use")
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the data directory was made (%v)", setting, err)
		}
	}
}

func TestASecondAtlasOnOneDataDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := serve(t, "ATLAS_DATA_DIR="+dir)
	o := atlas(t, onFreePorts([]string{"ATLAS_DATA_DIR=" + dir}), "serve")
	o.wants(t, 2, dir, "in use", "process "+strconv.Itoa(first.cmd.Process.Pid))
	if got := status(first.url() + "/readyz"); got != http.StatusOK {
		t.Errorf("the first answers %d afterwards, want 200", got)
	}
}

func TestBadSettingsAreNamedTogether(t *testing.T) {
	t.Parallel()
	const secret = "canary-1f0c2d"
	o := atlas(t, []string{
		"ATLAS_ADDR=nowhere",
		"ATLAS_OPS_ADDR=nowhere",
		"ATLAS_DATABASE_URL=postgres://atlas:" + secret + "%zz@127.0.0.1/atlas",
		"ATLAS_ROLES=api,cook",
		"ATLAS_DEV=perhaps",
		"ATLAS_MASTER_KEY=" + secret,
		"ATLAS_SIGNING_KEYS=" + secret,
		"ATLAS_SMTP_URL=smtp://" + secret + "%zz@mail.example.com",
		"ATLAS_MAIL_FROM=nobody",
		"ATLAS_PUBLIC_URL=ftp://example.com",
		"ATLAS_LOG_LEVEL=loud",
		"ATLAS_LOG_FORMAT=xml",
		"ATLAS_LISTEN=8080",
	}, "serve")
	o.wants(t, 2, "ATLAS_ADDR", "ATLAS_OPS_ADDR", "ATLAS_DATABASE_URL", "ATLAS_ROLES", "ATLAS_DEV", "ATLAS_MASTER_KEY",
		"ATLAS_SIGNING_KEYS", "ATLAS_SMTP_URL", "ATLAS_MAIL_FROM", "ATLAS_PUBLIC_URL", "ATLAS_LOG_LEVEL", "ATLAS_LOG_FORMAT", "ATLAS_LISTEN is not a setting")
	if strings.Contains(o.stdout+o.stderr, secret) {
		t.Errorf("a secret's value is repeated:\n%s", o.stderr)
	}
}

func TestOutsideDevelopmentModeKeysAndMailAreRequired(t *testing.T) {
	t.Parallel()
	atlas(t, []string{"ATLAS_ADDR=0.0.0.0:0", "ATLAS_DATA_DIR=" + dataDir(t)}, "serve").
		wants(t, 2, "ATLAS_MASTER_KEY must be set", "ATLAS_SIGNING_KEYS must be set", "ATLAS_SMTP_URL must be set")
}

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := onFreePorts([]string{"ATLAS_DATA_DIR=" + dir, "ATLAS_SIGNING_KEYS=" + auth.GenerateSeed().Reveal()})
	right, wrong := sealing.GenerateMaster(), sealing.GenerateMaster()
	first := serve(t, append(settings, "ATLAS_MASTER_KEY="+right)...)
	first.terminate()
	first.wait()

	o := atlas(t, append(settings, "ATLAS_MASTER_KEY="+wrong), "serve")
	o.wants(t, 1, "the master key does not belong to this database")
	if strings.Contains(o.stderr, right) || strings.Contains(o.stderr, wrong) {
		t.Errorf("a key is repeated:\n%s", o.stderr)
	}
	if pids := serverProcesses(dir); len(pids) > 0 {
		t.Errorf("the private server's processes %v are still there", pids)
	}
}

func TestWithoutPostgreSQLTheStartSaysSo(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	o := atlas(t, onFreePorts([]string{"ATLAS_DATA_DIR=" + dataDir(t), "ATLAS_POSTGRES_BIN=" + bin}), "serve")
	o.wants(t, 2, "PostgreSQL 15 or newer is not installed", bin)
	if lines := strings.Count(o.stderr, "\n"); lines != 1 {
		t.Errorf("got %d lines, want one sentence:\n%s", lines, o.stderr)
	}
}

func TestAnUnknownCommandOrArgumentIsTheCallersMistake(t *testing.T) {
	t.Parallel()
	for line, name := range map[string]string{
		"srve":                 `"srve"`,
		"serve now":            `"now"`,
		"serve --port 1":       "--port",
		"projections lst":      `"lst"`,
		"projections rebuild":  "usage: atlas projections rebuild NAME",
		"projections list all": `"all"`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			atlas(t, nil, strings.Fields(line)...).wants(t, 2, name)
		})
	}
}

// Where the tests run as root, every other test shows that root can; where they do not, this is what the others do.
func TestANormalUserServes(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := startAs(t, nobody(t, dir), onFreePorts([]string{"HOME=" + dir, "ATLAS_DATA_DIR=" + dir}), "serve")
	p.awaitReady(patience)
	signUp(t, p.url(), "ann@example.com").must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	p.terminate()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
}

// nobody gives a directory to the user nobody and returns who that is, or nil where the tests are not root's.
func nobody(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, badUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, badGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(badUID, badGID, os.Chown(dir, int(uid), int(gid))); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// wants holds that a command ended with the code and that what it wrote to stderr names all of these.
func (o outcome) wants(t *testing.T, code int, names ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code: got %d, want %d", o.code, code)
	}
	for _, name := range names {
		if !strings.Contains(o.stderr, name) {
			t.Errorf("stderr does not name %q", name)
		}
	}
	if t.Failed() {
		t.Logf("stderr:\n%s", o.stderr)
	}
}
