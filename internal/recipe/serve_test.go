package recipe

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
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
	addr := freeAddr(t)
	var log bytes.Buffer
	cmd := exec.Command(binary, "serve")
	cmd.Env = append(os.Environ(), "ATLAS_ADDR="+addr, "ATLAS_OPS_ADDR=off", "ATLAS_DATA_DIR="+dir+"/data")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("atlas ended with %v:\n%s", err, &log)
		}
	})
	c := &client{t: t, base: "http://" + addr, binary: binary, environ: cmd.Env}
	awaitReady(t, c.base, ended, &log)
	return c
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitReady(t *testing.T, base string, ended chan error, log *bytes.Buffer) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("atlas ended before it was ready: %v\n%s", err, log)
		case <-deadline:
			t.Fatal("atlas was not ready within a minute")
		case <-tick.C:
		}
		if res, err := http.Get(base + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				return
			}
		}
	}
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
