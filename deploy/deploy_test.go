package deploy_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMadeEnvHoldsWhatComposeAsksFor(t *testing.T) {
	t.Parallel()
	env := read(t, makeEnv(t))
	for _, file := range []string{"compose.yaml", "compose.nats.yaml"} {
		compose, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\$\{(\w+):\?`).FindAllStringSubmatch(string(compose), -1) {
			if env[name[1]] == "" {
				t.Errorf("%s asks for %s, and make-env does not set it", file, name[1])
			}
		}
	}
	password := url.UserPassword("atlas", env["POSTGRES_PASSWORD"])
	if got, want := password.String(), "atlas:"+env["POSTGRES_PASSWORD"]; got != want {
		t.Errorf("the password needs escaping in a URL")
	}
}

func TestMadeKeysAreFreshAndOfTheRightSize(t *testing.T) {
	t.Parallel()
	var seen []string
	for range 2 {
		env := read(t, makeEnv(t))
		for _, name := range []string{"POSTGRES_PASSWORD", "ATLAS_MASTER_KEY", "ATLAS_SIGNING_KEYS", "NATS_PASSWORD"} {
			key, err := base64.RawURLEncoding.DecodeString(env[name])
			if err != nil || len(key) != ed25519.SeedSize {
				t.Errorf("%s: %d bytes (%v), want %d in base64url without padding", name, len(key), err, ed25519.SeedSize)
			}
			if slices.Contains(seen, env[name]) {
				t.Errorf("%s was handed out before", name)
			}
			seen = append(seen, env[name])
		}
	}
}

func TestMadeEnvIsPrivateAndKept(t *testing.T) {
	t.Parallel()
	file := makeEnv(t)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode = %o, want 600", got)
	}
	before := read(t, file)["ATLAS_MASTER_KEY"]
	if out, err := exec.Command("./make-env", file).CombinedOutput(); err == nil {
		t.Errorf("a second make-env did not refuse: %s", out)
	}
	if read(t, file)["ATLAS_MASTER_KEY"] != before {
		t.Error("a second make-env replaced the master key")
	}
}

func makeEnv(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), ".env")
	if out, err := exec.Command("./make-env", file).CombinedOutput(); err != nil {
		t.Fatalf("make-env: %v: %s", err, out)
	}
	return file
}

// read returns the settings in an env file.
func read(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			env[name] = value
		}
	}
	return env
}
