package recipe

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// client calls a running Atlas, and reads what it wrote.
type client struct {
	t        *testing.T
	base     string
	token    string
	position string

	binary  string
	environ []string // of the server, for commands beside it
}

// atlas gives a command beside the server, wants it to succeed, and returns what it prints.
func (c *client) atlas(args ...string) string {
	c.t.Helper()
	cmd := exec.Command(c.binary, args...)
	cmd.Env = c.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("atlas %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// serve runs the binary on a private server of its own until the test ends.
func serve(t *testing.T, binary string) *client {
	t.Helper()
	dir, err := os.MkdirTemp("", "atlas-recipe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // as root, the private server runs as another user, who must walk in
		t.Fatal(err)
	}
	var log watchtest.Output
	cmd := exec.Command(binary, "serve")
	cmd.Env = append(os.Environ(), "ATLAS_ADDR=127.0.0.1:0", "ATLAS_OPS_ADDR=off", "ATLAS_LOG_FORMAT=json", "ATLAS_DATA_DIR="+dir+"/data")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if <-ended; failed != nil {
			t.Errorf("atlas ended with %v:\n%s", failed, &log)
		}
	})
	c := &client{t: t, binary: binary, environ: cmd.Env}
	watchtest.Eventually(t, time.Minute, "atlas is ready", func() bool {
		select {
		case <-ended:
			t.Fatalf("atlas ended before it was ready: %v\n%s", failed, &log)
		default:
		}
		c.base = baseOf(log.String())
		return c.base != "" && ready(c.base)
	})
	return c
}

// baseOf returns where a server listens, as its log says, or "" where that does not say so yet.
func baseOf(log string) string {
	for line := range strings.Lines(log) {
		var said struct{ Msg, Addr string }
		if err := json.Unmarshal([]byte(line), &said); err == nil && said.Msg == "serving" {
			return "http://" + said.Addr
		}
	}
	return ""
}

func ready(base string) bool {
	res, err := http.Get(base + "/readyz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// call makes a request, wants a status, and returns the JSON of the answer.
func (c *client) call(method, path, body string, status int) (out map[string]any) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.position != "" {
		req.Header.Set("Atlas-Min-Position", c.position)
		req.Header.Set("Prefer", "wait=30")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		c.t.Fatalf("%s %s: %d (%v), want %d: %s", method, path, res.StatusCode, err, status, raw)
	}
	if p := res.Header.Get("Atlas-Position"); p != "" {
		c.position = p
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// requireNotes holds what the texts of the notes are.
func (c *client) requireNotes(when string, want ...string) {
	c.t.Helper()
	var got []string
	for _, n := range c.call("GET", "/v1/notes", "", 200)["data"].([]any) {
		got = append(got, n.(map[string]any)["text"].(string))
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("notes %s: %q, want %q", when, got, want)
	}
}
