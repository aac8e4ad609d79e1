package main_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Two hundred sign-ins at once on two processors: some are served, the rest are told to come back, and the memory of two
// hashes is all it takes. Each of them hashed at once would take 3.8 GB.
func TestAFloodOfSignInsCostsNoMemory(t *testing.T) {
	t.Parallel()
	settings, _ := shared(t)
	p := serve(t, append(settings, "GOMAXPROCS=2")...)
	signUp(t, p.url(), "ann@example.com")
	before := p.peakMemory()
	const n = 200
	answers := make(chan answer, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			c := newClient(p.url())
			defer c.http.CloseIdleConnections()
			<-start
			a, err := c.do(context.Background(), "POST", "/v1/auth/login", map[string]string{"email": "ann@example.com", "password": password})
			if err != nil {
				t.Error(err)
			}
			answers <- a
		})
	}
	began := time.Now()
	close(start)
	all.Wait()
	close(answers)
	count := map[string]int{}
	for a := range answers {
		count[fmt.Sprint(a.status, " ", a.problem())]++
		if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status == http.StatusServiceUnavailable && (err != nil || wait < 1) {
			t.Errorf("%s has no Retry-After", a)
		}
	}
	grown := p.peakMemory() - before
	t.Logf("%v in %v; the process grew by %d MiB at most", count, time.Since(began).Round(time.Millisecond), grown>>20)
	if count["200 "] == 0 || count["200 "]+count["503 busy"] != n {
		t.Errorf("got %v, want sign-ins, and the rest told to come back", count)
	}
	if grown > 500<<20 {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
}

// peakMemory is the most memory that the process has had, in bytes.
func (p *process) peakMemory() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skipf("this system does not tell what a process takes: %v", err)
	}
	kib := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if kib == nil {
		p.t.Fatalf("no peak in %s", text)
	}
	n, err := strconv.ParseInt(string(kib[1]), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}
