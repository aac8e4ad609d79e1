package main_test

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHealthcheckTellsReadyFromNot(t *testing.T) {
	t.Parallel()
	p := serve(t, "ATLAS_DATA_DIR="+dataDir(t))
	addr := strings.TrimPrefix(p.url(), "http://")
	if o := atlas(t, []string{"ATLAS_ADDR=" + addr}, "healthcheck"); o != (outcome{}) {
		t.Errorf("ready: got %+v, want exit 0 and no words", o)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	everywhere := []string{
		"ATLAS_ADDR=0.0.0.0:" + port, "ATLAS_DEV=1", // as inside a container
	}
	if o := atlas(t, everywhere, "healthcheck"); o.code != 0 {
		t.Errorf("ready, by any address: got %+v, want exit 0", o)
	}
	p.terminate()
	p.wait()
	atlas(t, []string{"ATLAS_ADDR=" + addr}, "healthcheck").wants(t, 1, addr)
}

func TestHealthcheckTellsAServerThatIsNotReady(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	atlas(t, []string{"ATLAS_ADDR=" + l.Addr().String()}, "healthcheck").wants(t, 1, "not ready", "503")
}

func TestProjectionsAreListedAndRebuilt(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir}
	p := serve(t, settings...)
	user := signUp(t, p.url(), "ann@example.com")
	created := user.must(t, http.StatusCreated, "POST", "/v1/documents", content{"Plan", "Ship it."})
	path, position := created.header.Get("Location"), created.header.Get("Atlas-Position")
	reads := func(p *process) {
		t.Helper()
		var got document
		into(t, &got, user.at(p.url()).must(t, http.StatusOK, "GET", path, nil, after(position, 30)...))
		if got.Title != "Plan" {
			t.Errorf("got title %q, want Plan", got.Title)
		}
	}
	rebuild := func() {
		t.Helper()
		if o := atlas(t, settings, "projections", "rebuild", "documents"); o.code != 0 || !strings.Contains(o.stdout, "documents rebuilt") {
			t.Errorf("rebuild: got %+v", o)
		}
	}

	beside := projectionNames(t, settings)
	rebuild()
	reads(p)
	atlas(t, settings, "projections", "rebuild", "nosuch").wants(t, 2, append(beside, `"nosuch"`)...)
	atlas(t, settings, "projections", "verify", "documents", "--all", "--sample", "3").wants(t, 2, "[all sample]")
	atlas(t, settings, "projections", "rebuild", "outbox").wants(t, 1, "cannot be rebuilt")

	if o := atlas(t, settings, "projections", "parked", "documents"); o.code != 0 || !strings.HasPrefix(o.stdout, "KEY") {
		t.Errorf("parked: got %+v", o)
	}
	if o := atlas(t, settings, "projections", "retry", "documents", "--error", "x"); o.code != 0 || o.stdout != "0 healed, 0 failed again\n" {
		t.Errorf("retry: got %+v", o)
	}
	atlas(t, settings, "projections", "retry", "documents", "--key", "x").wants(t, 2, "--key")

	// A server that was killed leaves its socket behind, which must not be taken for a running one.
	p.cmd.Process.Signal(syscall.SIGSTOP) // so that it does not start another
	killServer(t, dir)
	p.kill()
	alone := projectionNames(t, settings)
	if diff := cmp.Diff(beside, alone); diff != "" {
		t.Errorf("projections with a server and without differ:\n%s", diff)
	}
	rebuild()
	if pids := serverProcesses(dir); len(pids) > 0 {
		t.Errorf("the command leaves processes %v", pids)
	}
	reads(serve(t, settings...))
}
