package limits

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newLimiter(t *testing.T, setting string, shared *Redis) *Limiter {
	t.Helper()
	s, err := Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(s, []byte("a secret of the test's own......"), shared)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAQuotaMayBeUsedAtOnceAndComesBackEvenly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, "login.address=3/30s", nil)
		take := func() Verdict { return l.Take(t.Context(), "login.address", "192.0.2.1") }
		for left := 2; left >= 0; left-- {
			if v := take(); v.Refused || v.Standings[0].Remaining != left {
				t.Fatalf("got %+v, want %d left", v, left)
			}
		}
		v := take()
		if !v.Refused || v.RetryAfter != 10*time.Second || v.Standings[0].Reset != 30*time.Second {
			t.Errorf("the fourth: got %+v, want refused for 10 s", v)
		}
		time.Sleep(v.RetryAfter)
		if v := take(); v.Refused {
			t.Errorf("after Retry-After: got %+v", v)
		}
		if v := take(); !v.Refused {
			t.Error("one came back, and two were given")
		}
	})
}

func TestEveryRateOfALimitHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, "login.address=2/1s+3/1h", nil)
		for i, want := range []bool{false, false, true} {
			if v := l.Take(t.Context(), "login.address", "k"); v.Refused != want {
				t.Errorf("%d: got %+v", i, v)
			}
		}
		time.Sleep(2 * time.Second)
		v := l.Take(t.Context(), "login.address", "k") // the hour's quota was taken from by the one that was refused, too
		if !v.Refused || v.RetryAfter < time.Minute {
			t.Errorf("the fourth within the hour: got %+v", v)
		}
		if p := v.Standings; p[0].Policy != "login.address" || p[1].Policy != "login.address/1h" {
			t.Errorf("policies %q and %q", p[0].Policy, p[1].Policy)
		}
	})
}

func TestKeysAndLimitsAreCountedApart(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "login.address=1/1h,register.address=1/1h", nil)
	for _, what := range [][2]string{{"login.address", "a"}, {"login.address", "b"}, {"register.address", "a"}} {
		if l.Take(t.Context(), what[0], what[1]).Refused {
			t.Errorf("%s of %s was used up by another", what[0], what[1])
		}
	}
	if !l.Take(t.Context(), "login.address", "a").Refused {
		t.Error("the second was let through")
	}
	if got := l.Refused(); got["login.address"] != 1 || len(got) != 1 {
		t.Errorf("refused: got %v", got)
	}
}

func TestALimitThatIsOffRefusesNobody(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "login.address=off", nil)
	if v := l.Take(t.Context(), "login.address", "a"); v.Refused || len(v.Standings) > 0 || !l.Knows("login.address") {
		t.Errorf("got %+v", v)
	}
}

// However many ask at the same moment, the quota is given and no more.
func TestManyAtOnceGetTheQuotaAndNoMore(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "api.principal=20/24h", nil)
	if got := allowed(t, 200, func() bool { return !l.Take(t.Context(), "api.principal", "k").Refused }); got > 20 || got == 0 {
		t.Errorf("%d of 200 were let through, want 20", got)
	}
}

// allowed says how many of n at once were let through.
func allowed(t *testing.T, n int, try func() bool) (got int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if try() {
				mu.Lock()
				got++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return got
}

func TestMemoryIsBoundedByForgettingTheOldest(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "login.address=1/24h", nil)
	for i := range MaxKeys + 1 {
		l.Take(t.Context(), "login.address", fmt.Sprint(i))
	}
	if l.Take(t.Context(), "login.address", "0").Refused {
		t.Error("the oldest of more keys than fit is still counted")
	}
	if !l.Take(t.Context(), "login.address", fmt.Sprint(MaxKeys)).Refused {
		t.Error("the newest key is not counted")
	}
}
