package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// patience bounds every wait for something that ought to happen soon. Machines that test are slow and busy.
const patience = 90 * time.Second

// process is one running atlas. It is ended, with all it started, when the test ends.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *watchtest.Output
	stderr *watchtest.Output
	exited chan struct{} // closed when it has ended and its output is complete
}

// unlimited is what processes get that no test asks about limits: limits that nobody comes to. A test's own setting wins.
const unlimited = "ATLAS_LIMITS=*=1000000/1s, login.delay=off"

// start runs atlas with these settings and no others.
func start(t testing.TB, settings []string, args ...string) *process {
	t.Helper()
	return startAs(t, nil, settings, args...)
}

// startAs runs atlas as another user, or as the test's own where that is nil.
func startAs(t testing.TB, user *syscall.Credential, settings []string, args ...string) *process {
	t.Helper()
	return startProgram(t, binary.path(t), user, settings, args...)
}

// startProgram is startAs of another program than the one under test.
func startProgram(t testing.TB, path string, user *syscall.Credential, settings []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), stdout: &watchtest.Output{}, stderr: &watchtest.Output{}, exited: make(chan struct{})}
	p.cmd.Dir = "/"
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.TempDir(), unlimited}, settings...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user} // an interrupt at the terminal is the tests'
	endWithTests(p.cmd.SysProcAttr)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("atlas %s ended with %s and wrote\n%s\n%s", strings.Join(args, " "), p.cmd.ProcessState, endOf(p.stdout), endOf(p.stderr))
		}
	})
	return p
}

// serve runs `atlas serve` on free ports, and returns when it is ready.
func serve(t testing.TB, settings ...string) *process {
	t.Helper()
	p := start(t, onFreePorts(settings), "serve")
	p.awaitReady(patience)
	return p
}

// onFreePorts adds addresses whose ports the system chooses: the log says which.
func onFreePorts(settings []string) []string {
	return append([]string{"ATLAS_ADDR=127.0.0.1:0", "ATLAS_OPS_ADDR=127.0.0.1:0"}, settings...)
}

// url is where the API is; it waits until the process says so.
func (p *process) url() string { return "http://" + p.serving().Addr }

// opsURL is where the metrics are.
func (p *process) opsURL() string { return "http://" + p.serving().OpsAddr }

type servingLine struct {
	Addr    string `json:"addr"`
	OpsAddr string `json:"ops_addr"`
}

func (p *process) serving() (said servingLine) {
	p.t.Helper()
	line := p.awaitLog("serving")
	if err := json.Unmarshal(line, &said); err != nil {
		p.t.Fatalf("log line %s: %v", line, err)
	}
	return said
}

// awaitLog returns the first line of the log with this message, which it waits for.
func (p *process) awaitLog(message string) (line []byte) {
	p.t.Helper()
	p.eventually(patience, "log says "+strconv.Quote(message), func() bool {
		line = lineOf(p.stderr, `"msg":`+strconv.Quote(message))
		return line != nil
	})
	return line
}

func (p *process) awaitReady(within time.Duration) {
	p.t.Helper()
	url := p.url() + "/readyz"
	p.eventually(within, "is ready", func() bool { return status(url) == http.StatusOK })
}

// eventually waits for what a process must live to see.
func (p *process) eventually(within time.Duration, what string, holds func() bool) {
	p.t.Helper()
	watchtest.Eventually(p.t, within, what, func() bool {
		select {
		case <-p.exited:
			if !holds() {
				p.t.Fatalf("atlas ended with %s before it %s", p.cmd.ProcessState, what)
			}
		default:
		}
		return holds()
	})
}

// kill ends the process as the kernel does when memory runs out.
func (p *process) kill() {
	p.cmd.Process.Kill() // does nothing to one that has ended
	<-p.exited
}

// terminate asks the process to stop.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code; the process must be about to end.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("atlas still runs after %s", patience)
		return -1
	}
}

// outcome is what a finished command left.
type outcome struct {
	code           int
	stdout, stderr string
}

// atlas runs one command to its end.
func atlas(t testing.TB, settings []string, args ...string) outcome {
	t.Helper()
	p := start(t, settings, args...)
	code := p.wait()
	return outcome{code, p.stdout.String(), p.stderr.String()}
}

// status returns what a GET answers with, or 0 if nothing answers.
func status(url string) int {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// endOf returns the last of it, as much as helps to see why a test failed.
func endOf(o *watchtest.Output) string {
	text := o.String()
	return text[max(0, len(text)-8<<10):]
}

// lineOf returns the first whole line that holds part, or nil.
func lineOf(o *watchtest.Output, part string) []byte {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, part) && strings.HasSuffix(line, "\n") {
			return []byte(line)
		}
	}
	return nil
}
