package main

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
)

// faultsOf returns the lines of the message that refuses the settings.
func faultsOf(t *testing.T, environ ...string) []string {
	t.Helper()
	_, err := loadConfig(environ, toServe()...)
	if err == nil {
		return nil
	}
	return strings.Split(strings.TrimPrefix(err.Error(), "settings:\n"), "\n")
}

func TestNothingNeedsToBeSet(t *testing.T) {
	t.Parallel()
	cfg, err := loadConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.development() || cfg.Addr != "127.0.0.1:8080" || cfg.OpsAddr != "127.0.0.1:9090" {
		t.Errorf("got %+v", cfg)
	}
	for _, role := range knownRoles {
		if !cfg.has(role) {
			t.Errorf("the process does not have the role %s", role)
		}
	}
}

func TestEveryFaultIsInOneMessage(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-zzmarkedzz"
	environ := []string{
		"ATLAS_ADDR=8080", "ATLAS_OPS_ADDR=here", "ATLAS_DATABASE_URL=postgres://atlas:" + secret + "@host:port/%zz",
		"ATLAS_ROLES=api,cook", "ATLAS_DEV=perhaps", "ATLAS_MASTER_KEY=" + secret, "ATLAS_SIGNING_KEYS=" + secret + "," + secret,
		"ATLAS_SMTP_URL=smtp://atlas:" + secret + "@host:x", "ATLAS_MAIL_FROM=atlas", "ATLAS_PUBLIC_URL=example.com",
		"ATLAS_LIMITS=logins=1/1m", "ATLAS_TRUSTED_PROXIES=0.0.0.0/0", "ATLAS_REDIS_URL=http://:" + secret + "@host",
		"ATLAS_NATS_URL=http://atlas:" + secret + "@host", "ATLAS_NATS_PREFIX=a.b",
		"ATLAS_OUTBOX_RETENTION=-1h", "ATLAS_OUTBOX_ABANDON_AFTER=1m", "ATLAS_OUTBOX_ABANDON_MESSAGES=many",
		"ATLAS_LOG_LEVEL=loud", "ATLAS_LOG_FORMAT=verse", "ATLAS_ADR=127.0.0.1:1", "PATH=/bin",
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"serve"}, environ, &stdout, &stderr); code != 2 {
		t.Errorf("exit code: got %d, want 2", code)
	}
	for _, setting := range environ {
		name, _, _ := strings.Cut(setting, "=")
		if said := strings.Count(stderr.String(), name); name != "PATH" && said != 1 {
			t.Errorf("%s is named %d times, want once", name, said)
		}
	}
	for _, part := range []string{secret, "zzmarkedzz", "PATH", "panic"} {
		if strings.Contains(stdout.String()+stderr.String(), part) {
			t.Errorf("the message holds %q", part)
		}
	}
	for _, sentence := range []string{"ATLAS_DEV must be true or false\n", "ATLAS_OUTBOX_ABANDON_MESSAGES must be a whole number\n"} {
		if !strings.Contains(stderr.String(), sentence) {
			t.Errorf("the message lacks %q", sentence)
		}
	}
	if lines := strings.Count(strings.TrimSpace(stderr.String()), "\n"); lines != len(environ)-1 {
		t.Errorf("got %d lines of faults, want %d:\n%s", lines, len(environ)-1, &stderr)
	}
	for range 10 {
		if diff := gocmp.Diff(faultsOf(t, environ...), faultsOf(t, environ...)); diff != "" {
			t.Errorf("the message is another every time:\n%s", diff)
		}
	}
}

func TestDevelopmentModeIsForThisMachineAlone(t *testing.T) {
	t.Parallel()
	needed := []string{
		"ATLAS_MASTER_KEY must be set outside development mode", "ATLAS_SIGNING_KEYS must be set outside development mode",
		"ATLAS_SMTP_URL must be set outside development mode",
	}
	for _, c := range []struct {
		name    string
		environ []string
		want    []string
	}{
		{"a private server on loopback", []string{"ATLAS_ADDR=127.0.0.1:80"}, nil},
		{"on all of loopback", []string{"ATLAS_ADDR=127.8.8.8:80"}, nil},
		{"on loopback of IPv6", []string{"ATLAS_ADDR=[::1]:80"}, nil},
		{"on localhost", []string{"ATLAS_ADDR=localhost:80"}, nil},
		{"on every address", []string{"ATLAS_ADDR=0.0.0.0:80"}, needed},
		{"on every address of IPv6", []string{"ATLAS_ADDR=[::]:80"}, needed},
		{"on no address in particular", []string{"ATLAS_ADDR=:80"}, needed},
		{"on another address", []string{"ATLAS_ADDR=192.0.2.1:80"}, needed},
		{"on a name", []string{"ATLAS_ADDR=localhost.example.com:80"}, needed},
		{"a database of one's own", []string{"ATLAS_DATABASE_URL=postgres://atlas@localhost/atlas"}, needed},
		{"on every address, meant so", []string{"ATLAS_ADDR=0.0.0.0:80", "ATLAS_DEV=1"}, nil},
		{"a database of one's own, meant so", []string{"ATLAS_DATABASE_URL=postgres://atlas@localhost/atlas", "ATLAS_DEV=true"}, nil},
		{"a database of one's own, not meant so", []string{"ATLAS_DATABASE_URL=postgres://atlas@localhost/atlas", "ATLAS_DEV=0"}, needed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := gocmp.Diff(c.want, faultsOf(t, c.environ...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestProductionNeedsItsKeysAndNothingElse(t *testing.T) {
	t.Parallel()
	environ := []string{
		"ATLAS_ADDR=0.0.0.0:80", "ATLAS_MASTER_KEY=" + sealing.GenerateMaster(), "ATLAS_SIGNING_KEYS=" + auth.GenerateSeed().Reveal(),
		"ATLAS_SMTP_URL=smtps://atlas:pa%20ss@mail.example.com",
	}
	if diff := gocmp.Diff([]string(nil), faultsOf(t, environ...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An operator's machine need not have the secrets that servers have.
func TestCommandsAskForTheSecretsTheyUse(t *testing.T) {
	t.Parallel()
	o := &operator{t: t, environ: []string{"ATLAS_DATA_DIR=" + t.TempDir(), "ATLAS_LOG_LEVEL=error"}}
	database := o.on()
	for _, line := range []string{
		"migrate", "projections list", "subscriptions list", "outbox status", "relay status", "keys list", "events parts", "events readers",
		"events verify", "events read",
	} {
		o.must(database, strings.Fields(line)...)
	}
	for _, line := range []string{"events read --unseal", "events verify --heads /dev/null", "subjects ledger export", "projections rebuild users"} {
		code, _, errs := o.atlas(database, strings.Fields(line)...)
		if code != 2 || !strings.Contains(errs, "ATLAS_MASTER_KEY must be set outside development mode") || strings.Contains(errs, "SIGNING") {
			t.Errorf("atlas %s, without the master key: exit %d, %s", line, code, errs)
		}
	}
	withKey := slices.Concat(database, []string{"ATLAS_MASTER_KEY=" + sealing.GenerateMaster()})
	o.must(withKey, "keys", "rotate")
	o.must(withKey, "events", "read", "--unseal")
}

func TestUnknownSettingIsRefused(t *testing.T) {
	t.Parallel()
	want := []string{"ATLAS_ADDRESS is not a setting of Atlas", "ATLAS_LISTEN is not a setting of Atlas"}
	got := faultsOf(t, "ATLAS_LISTEN=80", "ATLAS_ADDRESS=x", "atlas_addr=x", "POSTGRES=x")
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var settingRow = regexp.MustCompile("(?m)^\\| `(ATLAS_[A-Z_]+)` \\| (?:`([^`]*)`)? *\\|")

// The table in README.md and Config say the same.
func TestReadmeListsEverySetting(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, settings, found := strings.Cut(string(readme), "\n## Settings\n")
	if !found {
		t.Fatal(`README.md has no heading "## Settings"`)
	}
	settings, _, _ = strings.Cut(settings, "\n## ")
	got := map[string]string{}
	for _, row := range settingRow.FindAllStringSubmatch(settings, -1) {
		got[row[1]] = row[2]
	}
	want := map[string]string{}
	for f := range reflect.TypeFor[Config]().Fields() {
		want[f.Tag.Get("env")] = f.Tag.Get("envDefault")
		if f.Type.Kind() == reflect.Bool {
			want[f.Tag.Get("env")] = "false"
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("variables and defaults (-Config +README.md):\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`ATLAS_[A-Z_]+`).FindAllString(string(readme), -1) {
		if !slices.Contains(settingNames(), name) {
			t.Errorf("README.md mentions %s, which is no setting", name)
		}
	}
}

// Kubernetes puts such variables into every container beside a service named atlas.
func TestServiceLinksAreNoSettings(t *testing.T) {
	t.Parallel()
	links := []string{"ATLAS_SERVICE_HOST=10.0.0.1", "ATLAS_SERVICE_PORT=80", "ATLAS_SERVICE_PORT_HTTP=80", "ATLAS_PORT=tcp://10.0.0.1:80",
		"ATLAS_PORT_80_TCP=tcp://10.0.0.1:80", "ATLAS_PORT_80_TCP_PROTO=tcp", "ATLAS_PORT_80_TCP_ADDR=10.0.0.1", "ATLAS_OPS_SERVICE_HOST=10.0.0.2"}
	if _, err := loadConfig(links); err != nil {
		t.Error(err)
	}
	if _, err := loadConfig([]string{"ATLAS_ADRR=127.0.0.1:1"}); err == nil {
		t.Error("a typing error went unnoticed")
	}
}
