package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress is a bar on a terminal. Anywhere else it shows nothing.
type progress struct {
	out     io.Writer
	what    string
	started time.Time
	shown   time.Time
	first   int64 // what was done when it began
}

func newProgress(out io.Writer, what string) *progress {
	if f, ok := out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		out = nil
	}
	return &progress{out: out, what: what, started: time.Now(), first: -1}
}

// show says how far it has come, five times a second at most.
func (p *progress) show(done, total int64) {
	if p.first < 0 {
		p.first = done
	}
	if p.out == nil || total <= 0 || time.Since(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprint(p.out, "\r\x1b[K"+p.line(done, total, time.Since(p.started)))
}

func (p *progress) line(done, total int64, took time.Duration) string {
	const width = 30
	filled := min(int(width*done/total), width)
	rate := float64(done-p.first) / max(took.Seconds(), 0.001)
	eta := "?"
	if rate > 0 {
		eta = (time.Duration(float64(total-done)/rate) * time.Second).Round(time.Second).String()
	}
	return fmt.Sprintf("%s [%s%s] %d%% %d of %d, %.0f/s, %s left", p.what, strings.Repeat("#", filled),
		strings.Repeat(".", width-filled), 100*done/total, done, total, rate, eta)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
