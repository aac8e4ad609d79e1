package writeapi_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/httpapi/apitest"
)

// work is what a request made the server do.
type work struct {
	Hashes     uint64
	Statements []string
	Appended   int
}

// statements collects what requests have the database do, by request id.
type statements struct {
	mu  sync.Mutex
	sql map[string][]string
}

func watch(a *apptest.Atlas) *statements {
	s := &statements{sql: map[string][]string{}}
	a.Trace(func(ctx context.Context, sql string) {
		if id := httpapi.RequestID(ctx); id != "" {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sql[id] = append(s.sql[id], sql)
		}
	})
	return s
}

// of returns what a call made the server do. Nothing else must hash meanwhile.
func (s *statements) of(t *testing.T, a *apptest.Atlas, call apptest.Scenario) work {
	t.Helper()
	before := a.Hasher.Hashes()
	answer := a.Do(t, call)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := work{Hashes: a.Hasher.Hashes() - before, Statements: s.sql[answer.Header.Get("X-Request-ID")], Appended: len(answer.Appended)}
	if len(w.Statements) == 0 {
		t.Fatal("no statement was seen")
	}
	return w
}

// The first try and the second are compared apart: the first may have to fetch what the second finds in memory.
func TestSignInDoesTheSameWorkForEveryReasonToFail(t *testing.T) {
	t.Parallel()
	a := apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Verify: true})
	a.Disable(t, a.SignUp(t, uuid.Must(uuid.NewV7()), "Carl").ID)
	a.Do(t, apptest.Scenario{Call: register, Body: signUp("dora@example.com", "Dora"), Status: 202, Races: true})
	const wrong = "wrong horse battery staple"
	s := watch(a)
	var want []work
	for _, c := range []struct{ name, email, password string }{
		{"an unknown address", "nobody@example.com", apptest.Password},
		{"a wrong password", "ann@example.com", wrong},
		{"a disabled account", "carl@example.com", apptest.Password},
		{"an unverified account", "dora@example.com", apptest.Password},
		{"what is no address", "nobody", apptest.Password},
	} {
		var got []work
		a.Keys.Unsure() // the first try finds no key in memory
		for range 3 {
			got = append(got, s.of(t, a, apptest.Scenario{Call: login, Body: credentials(c.email, c.password), Status: 401, Code: "invalid_credentials"}))
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-an unknown address +this):\n%s", c.name, diff)
		}
	}
	if w := want[0]; w.Hashes != 1 || w.Appended != 0 {
		t.Errorf("%d hashes and %d events, want 1 and none", w.Hashes, w.Appended)
	}
}

func TestSigningUpDoesTheSameWorkForATakenAddress(t *testing.T) {
	t.Parallel()
	for _, verify := range []bool{true, false} {
		t.Run(fmt.Sprintf("verified by mail %t", verify), func(t *testing.T) {
			t.Parallel()
			a := apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Verify: verify})
			s := watch(a)
			sign := func(email string) work {
				return s.of(t, a, apptest.Scenario{Call: register, Body: signUp(email, "Zoe"), Status: 202, Races: true})
			}
			want := sign("free@example.com")
			if diff := cmp.Diff(want, sign("ann@example.com")); diff != "" {
				t.Errorf("(-free +taken):\n%s", diff)
			}
			if want.Hashes != 1 || want.Appended != 2 {
				t.Errorf("%d hashes and %d events, want 1 and 2", want.Hashes, want.Appended)
			}
		})
	}
}

var timing = flag.Bool("timing", false, "compare how long requests take for addresses with and without an account")

// It takes a quiet machine and a minute. The figures are in docs/identity.md.
func TestTimeDoesNotTellWhetherAnAddressHasAnAccount(t *testing.T) {
	if !*timing {
		t.Skip("it measures; give -timing")
	}
	const samples = 200
	a := apptest.With(t, apptest.Options{Limits: apptest.Unlimited, Verify: true, Cost: auth.DefaultCost()})
	for name, c := range map[string]struct {
		call, known, unknown string
	}{
		"login":    {login, credentials("ann@example.com", "wrong horse battery staple"), credentials("nobody@example.com", "wrong horse battery staple")},
		"register": {register, signUp("ann@example.com", "Zoe"), signUp("free@example.com", "Zoe")},
	} {
		took := map[string][]time.Duration{}
		pair := []string{c.known, c.unknown}
		for range samples {
			// In turn, so that what disturbs one disturbs the other, and by chance in which, so that nothing that comes every
			// other time, such as a garbage collection, disturbs the same one always.
			rand.Shuffle(len(pair), func(i, j int) { pair[i], pair[j] = pair[j], pair[i] })
			for _, body := range pair {
				began := time.Now()
				apitest.Scenario{Call: c.call, Body: body}.Send(t, a.URL)
				took[body] = append(took[body], time.Since(began))
			}
		}
		known, unknown := median(took[c.known]), median(took[c.unknown])
		apart := 100 * (known - unknown).Seconds() / unknown.Seconds()
		t.Logf("%s: median of %d: known %v, unknown %v, %.2f %% apart", name, samples, known, unknown, apart)
		if max(apart, -apart) > 5 {
			t.Errorf("%s: the medians are %.2f %% apart, want 5 at most", name, apart)
		}
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
