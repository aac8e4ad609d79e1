package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// openTerminal returns the two ends of a terminal: what is shown on the second can be read from the first.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine has no terminals: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}

// TestARebuildShowsABarOnATerminalAndLinesElsewhere rebuilds at a crawl, so that there is something to be seen.
func TestARebuildShowsABarOnATerminalAndLinesElsewhere(t *testing.T) {
	t.Parallel()
	settings, db := shared(t)
	user := signUp(t, serve(t, settings...).url(), "ann@example.com")
	for n := range 30 {
		user.must(t, http.StatusCreated, "POST", "/v1/documents", content{fmt.Sprint("Plan ", n), "Ship it."})
	}
	awaitProjections(t, db)
	rebuild := []string{"projections", "rebuild", "documents", "--max-load", "2"}

	screen, terminal := openTerminal(t)
	cmd := exec.Command(binary.path(t), rebuild...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, settings...)
	var printed watchtest.Output
	cmd.Stdout, cmd.Stderr = &printed, terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	shown, _ := io.ReadAll(screen) // which ends with an error when nobody has the other end any more
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	bar := regexp.MustCompile(`\r\x1b\[Krebuild documents: folding \[#*\.*\] \d+% \d+ of \d+, \d+/s, \S+ left, live lag \S+s`)
	if !bar.Match(shown) {
		t.Errorf("the terminal has shown %q, want a bar", shown)
	}
	if !strings.HasSuffix(string(shown), "\r\x1b[K") {
		t.Errorf("in the end the terminal has %q, want the bar gone", shown[max(0, len(shown)-80):])
	}
	if got := printed.String(); !strings.HasPrefix(got, "documents rebuilt in ") || strings.Count(got, "\n") != 1 {
		t.Errorf("it has printed %q", got)
	}

	o := atlas(t, settings, rebuild...)
	if o.code != 0 || !strings.HasPrefix(o.stdout, "documents rebuilt in ") {
		t.Errorf("without a terminal: got %+v", o)
	}
	line := regexp.MustCompile(`(?m)^rebuild documents: folding(: \d+% \d+ of \d+, \d+/s, \S+ left)?$`)
	if !line.MatchString(o.stderr) || strings.ContainsAny(o.stderr, "\r\x1b") {
		t.Errorf("without a terminal it has shown %q, want plain lines", o.stderr)
	}
}
