package writeapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/auth/failures"
)

const wrong = "wrong horse battery staple"

// slow is an Atlas whose sign-ins wait after failures as they do without a setting.
func slow(t *testing.T) *apptest.Atlas {
	t.Helper()
	return apptest.With(t, apptest.Options{Limits: "*=1000000/1s, login.delay=4/1m"})
}

// fail makes sign-ins fail that are heard.
func fail(t *testing.T, a *apptest.Atlas, email string, times int, headers map[string]string) {
	t.Helper()
	for range times {
		a.Do(t, apptest.Scenario{Call: login, Body: credentials(email, wrong), Status: 401, Code: "invalid_credentials", Headers: headers})
	}
}

// harass makes sign-ins fail until the next one has to wait for a minute. Those that are heard are sent; the rest, which
// would take as long as they make wait, are counted as if they had been.
func harass(t *testing.T, a *apptest.Atlas, email string) {
	t.Helper()
	fail(t, a, email, 4, nil)
	address := a.Address(email)
	if !strings.Contains(email, "@") {
		address = a.Address("not an address: " + email)
	}
	for range 10 {
		a.Limits.LoginDelay().Failed(t.Context(), "address/"+address.String())
	}
}

func TestFailuresMakeTheNextSignInWaitAlikeForUnknownAddresses(t *testing.T) {
	t.Parallel()
	a := slow(t)
	var want map[string]any
	for _, email := range []string{"ann@example.com", "ANN@example.com", "nobody@example.com", "no address"} {
		if email != "ANN@example.com" { // that is ann again
			harass(t, a, email)
		}
		hashes := a.Hasher.Hashes()
		got := a.Do(t, apptest.Scenario{Call: login, Body: credentials(email, apptest.Password), Status: 429, Code: "too_many_attempts"})
		if wait, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
			t.Errorf("%s: Retry-After %q, want a minute at most", email, got.Header.Get("Retry-After"))
		}
		if a.Hasher.Hashes() != hashes {
			t.Errorf("%s: a password was hashed for a try that waits", email)
		}
		got.Header.Del("Retry-After")
		if want == nil {
			want = anonymous(t, got)
		}
		if diff := cmp.Diff(want, anonymous(t, got)); diff != "" {
			t.Errorf("%s (-known +this):\n%s", email, diff)
		}
	}
}

// A stranger who keeps failing shuts nobody out who was there before.
func TestAKnownDeviceDoesNotWaitForStrangers(t *testing.T) {
	t.Parallel()
	a := slow(t)
	signIn := apptest.Scenario{Call: login, Body: credentials("ann@example.com", apptest.Password), Status: 200, Types: []string{"session.started"}}
	cookie := strings.Split(a.Do(t, signIn).Header.Get("Set-Cookie"), ";")[0]
	if !strings.HasPrefix(cookie, "atlas_device=") {
		t.Fatalf("got the cookie %q", cookie)
	}
	harass(t, a, "ann@example.com")
	a.Do(t, apptest.Scenario{Call: login, Body: signIn.Body, Status: 429, Code: "too_many_attempts"})
	signIn.Headers = map[string]string{"Cookie": cookie}
	if got := a.Do(t, signIn); got.Header.Get("Set-Cookie") != "" {
		t.Error("a device that is known gets to be another")
	}
	// It is known for this address alone, is no credential, and has to wait for its own failures.
	a.Do(t, apptest.Scenario{Call: login, Body: credentials("bob@example.com", wrong), Status: 401, Code: "invalid_credentials", Headers: signIn.Headers})
	harass(t, a, "bob@example.com")
	a.Do(t, apptest.Scenario{Call: login, Body: credentials("bob@example.com", apptest.Password), Status: 429, Code: "too_many_attempts", Headers: signIn.Headers})
	for refused := false; !refused; {
		got := a.Do(t, apptest.Scenario{Call: login, Body: credentials("ann@example.com", wrong), Races: true, Headers: signIn.Headers})
		if refused = got.Status == 429; !refused && got.Status != 401 {
			t.Fatalf("got %d %s", got.Status, got.Body)
		}
	}
}

// Whoever waits as told gets in, without any cookie: it is a delay and no lock.
func TestADelayEnds(t *testing.T) {
	t.Parallel()
	a := slow(t)
	fail(t, a, "ann@example.com", 5, nil)
	signIn := apptest.Scenario{Call: login, Body: credentials("ann@example.com", apptest.Password), Races: true}
	for deadline := time.Now().Add(30 * time.Second); ; {
		got := a.Do(t, signIn)
		if got.Status == 200 {
			return
		}
		wait, err := strconv.Atoi(got.Header.Get("Retry-After"))
		if got.Status != 429 || err != nil || time.Now().After(deadline) {
			t.Fatalf("got %d %s", got.Status, got.Body)
		}
		time.Sleep(time.Duration(wait) * time.Second) // as the answer says
	}
}

func TestFailedSignInsAreCountedAndNotAppended(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	store := failures.NewStore(a.Pool)
	since := time.Now()
	for email, n := range map[string]int{"ann@example.com": 3, "nobody@example.com": 2} {
		fail(t, a, email, n, nil)
		id := a.Address(email)
		hours, err := store.List(t.Context(), since, &id, 10)
		total := int64(0)
		for _, h := range hours {
			total += h.Failures
		}
		if err != nil || total != int64(n) || len(hours) > 2 {
			t.Errorf("%s: got %d failures in %d rows, %v; want %d in one", email, total, len(hours), err, n)
		}
	}
	a.Do(t, apptest.Scenario{Call: login, Body: credentials("ann@example.com", apptest.Password), Status: 200, Types: []string{"session.started"}})
	if all, err := store.List(t.Context(), since, nil, 10); err != nil || len(all) < 2 || len(all) > 4 {
		t.Errorf("all: got %v, %v", all, err)
	}
	if n, err := store.Prune(t.Context(), since.Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("pruned %d that are not old, %v", n, err)
	}
	if n, err := store.Prune(t.Context(), time.Now().Add(time.Hour)); n < 2 || err != nil {
		t.Errorf("pruned %d, %v; want both", n, err)
	}
}

func TestAdminsSeeFailedSignIns(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	fail(t, a, "ann@example.com", 2, nil)
	fail(t, a, "nobody@example.com", 3, nil)
	const list = "GET /v1/admin/sign-in-failures"
	a.Do(t, apptest.Scenario{Call: list, As: ann, Status: 403, Code: "permission_denied"})
	a.Do(t, apptest.Scenario{Call: list + "?email=ann", Token: a.AdminToken(t, ann), Status: 400, Code: "invalid_parameter", Fields: []string{"email invalid_format"}})
	for query, want := range map[string]int64{"": 5, "?email=nobody@example.com": 3, "?email=Ann@EXAMPLE.com": 2, "?email=x@example.com": 0} {
		got := apptest.Read[struct {
			Data []struct {
				Failures int64 `json:"failures"`
			} `json:"data"`
		}](t, a.Do(t, apptest.Scenario{Call: list + query, Token: a.AdminToken(t, ann), Status: 200}))
		total := int64(0)
		for _, h := range got.Data {
			total += h.Failures
		}
		if total != want {
			t.Errorf("%q: got %d failures, want %d", query, total, want)
		}
	}
}

// The cost of hashing was raised since: the stored hash is replaced, and nobody is signed out.
func TestSigningInStoresThePasswordAtTodaysCost(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	old, err := auth.NewHasher(auth.Cost{Memory: 16, Passes: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := old.Hash(t.Context(), apptest.Password)
	if err != nil {
		t.Fatal(err)
	}
	carl := a.SignUpWith(t, uuid.Must(uuid.NewV7()), "Carl", hash)
	signIn := apptest.Scenario{Call: login, Body: credentials(carl.Email, apptest.Password), Status: 200, Types: []string{"user.password_rehashed", "session.started"}}
	first := apptest.Read[tokens](t, a.Do(t, signIn))
	signIn.Types = signIn.Types[1:]
	a.Do(t, signIn)
	a.Revoke(t)
	a.Do(t, apptest.Scenario{Call: "GET /v1/me", Token: carl.Token, Status: 200})
	a.Do(t, apptest.Scenario{Call: refresh, Body: exchange(first.Refresh), Status: 200})
	if diff := cmp.Diff(events.UserPasswordRehashed{UserID: carl.ID}, a.Events(t, "user", carl.ID)[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
