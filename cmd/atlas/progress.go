package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress is a bar on a terminal. Anywhere else, such as in a log, it is a line now and then.
type progress struct {
	out      io.Writer
	terminal bool
	what     string
	note     string    // behind the bar
	started  time.Time // of the phase
	shown    time.Time
	first    int64 // what was done when it began
	endless  bool  // the end is as far away as ever, whatever the rate
}

// How often a bar is drawn anew, and a line written.
const (
	barPause  = 200 * time.Millisecond
	linePause = 10 * time.Second
)

func newProgress(out io.Writer, what string) *progress {
	f, ok := out.(*os.File)
	now := time.Now()
	return &progress{out: out, terminal: ok && term.IsTerminal(int(f.Fd())), what: what, started: now, shown: now, first: -1}
}

// phase says what is done from now on. It is told at once, and what was done so far does not count for its rate.
func (p *progress) phase(what string) {
	if what != p.what {
		p.what, p.started, p.shown, p.first = what, time.Now(), time.Time{}, -1
	}
}

// show says how far it has come, now and then.
func (p *progress) show(done, total int64) {
	if p.first < 0 {
		p.first = done
	}
	if p.terminal {
		if time.Since(p.shown) >= barPause {
			p.shown = time.Now()
			fmt.Fprint(p.out, "\r\x1b[K"+p.line(done, total, time.Since(p.started)))
		}
		return
	}
	if time.Since(p.shown) >= linePause {
		p.shown = time.Now()
		fmt.Fprintln(p.out, p.plain(done, total, time.Since(p.started)))
	}
}

// plain is how far it has come without a bar.
func (p *progress) plain(done, total int64, took time.Duration) string {
	if total <= 0 {
		return p.what
	}
	return fmt.Sprintf("%s: %s", p.what, p.figures(done, total, took))
}

func (p *progress) line(done, total int64, took time.Duration) string {
	const width = 30
	if total <= 0 {
		return p.what + p.note
	}
	filled := min(int(width*done/total), width)
	return fmt.Sprintf("%s [%s%s] %s", p.what, strings.Repeat("#", filled), strings.Repeat(".", width-filled), p.figures(done, total, took)+p.note)
}

// figures are the share that is done, the rate and the time left.
func (p *progress) figures(done, total int64, took time.Duration) string {
	rate := float64(done-p.first) / max(took.Seconds(), 0.001)
	eta := "?"
	switch {
	case done >= total:
		eta = "0s"
	case rate > 0 && !p.endless:
		eta = (time.Duration(float64(total-done)/rate) * time.Second).Round(time.Second).String()
	}
	return fmt.Sprintf("%d%% %d of %d, %.0f/s, %s left", 100*done/total, done, total, rate, eta)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
