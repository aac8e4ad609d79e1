package httpapi_test

import (
	"context"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/limits"
)

// limited serves an API with limits: a route for anyone, one with a limit of its own, and one for who is signed in.
func limited(t *testing.T, setting string, proxies ...string) server {
	t.Helper()
	settings, err := limits.Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := limits.New(settings, []byte("a secret of the test's own......"), nil)
	if err != nil {
		t.Fatal(err)
	}
	config := httpapi.Config{Limits: limiter}
	for _, p := range proxies {
		config.TrustedProxies = append(config.TrustedProxies, netip.MustParsePrefix(p))
	}
	return serveConfig(t, config, func(api *httpapi.API) {
		none := func(context.Context, *struct{}) (*struct{}, error) { return nil, nil }
		httpapi.Register(api, httpapi.Operation{ID: "open", Method: "GET", Path: "/v1/open", Access: httpapi.Anyone}, none)
		httpapi.Register(api, httpapi.Operation{ID: "login", Method: "POST", Path: "/v1/login", Access: httpapi.Anyone, Limit: "login"}, none)
		httpapi.Register(api, httpapi.Operation{ID: "mine", Method: "GET", Path: "/v1/mine", Access: httpapi.SignedIn}, none)
		httpapi.Register(api, httpapi.Operation{ID: "password", Method: "POST", Path: "/v1/password", Access: httpapi.SignedIn, Limit: "password"}, none)
	})
}

func TestALimitedAnswerTellsWhereTheCallerStands(t *testing.T) {
	t.Parallel()
	s := limited(t, "login.address=2/1m+9/1h")
	first := s.call(t, "POST /v1/login", "")
	if first.status != http.StatusNoContent {
		t.Fatalf("got %d %s", first.status, first.body)
	}
	if got, want := first.header.Get("RateLimit-Policy"), `"login.address";q=2;w=60, "login.address/1h";q=9;w=3600`; got != want {
		t.Errorf("RateLimit-Policy: got %s, want %s", got, want)
	}
	if got, want := first.header.Get("RateLimit"), `"login.address";r=1;t=30, "login.address/1h";r=8;t=400`; got != want {
		t.Errorf("RateLimit: got %s, want %s", got, want)
	}
	s.call(t, "POST /v1/login", "")
	over := s.call(t, "POST /v1/login", "")
	over.problem(t, http.StatusTooManyRequests, "rate_limited")
	if got, err := strconv.Atoi(over.header.Get("Retry-After")); err != nil || got < 1 || got > 30 {
		t.Errorf("Retry-After: got %d, %v; want 30, or less on a slow machine", got, err)
	}
	if got := over.header.Get("RateLimit"); !regexp.MustCompile(`^"login.address";r=0;t=[1-6]?\d, `).MatchString(got) {
		t.Errorf("RateLimit: got %s", got)
	}
	if got := s.call(t, "GET /v1/open", ""); got.status != http.StatusNoContent {
		t.Errorf("another limit was used up with it: got %d", got.status)
	}
}

// Loopback is not exempt: the tests are on it.
func TestStrangersAreCountedByAddressAndOthersByWhoTheyAre(t *testing.T) {
	t.Parallel()
	s := limited(t, "api.address=1/1h,api.principal=2/1h,password.principal=1/1h")
	for _, step := range []struct {
		call, path, token string
		want              int
	}{
		{"GET", "/v1/mine", "ann", 204}, {"GET", "/v1/mine", "ann", 204}, {"GET", "/v1/mine", "ann", 429},
		{"POST", "/v1/password", "root", 204}, {"POST", "/v1/password", "root", 429}, {"GET", "/v1/mine", "root", 429},
		{"GET", "/v1/mine", "guess", 401}, {"GET", "/v1/mine", "guess", 429}, {"GET", "/v1/mine", "", 429}, {"GET", "/v1/open", "", 429},
	} {
		var header []string
		if step.token != "" {
			header = []string{"Authorization: Bearer " + step.token}
		}
		if got := s.call(t, step.call+" "+step.path, "", header...); got.status != step.want {
			t.Errorf("%s %s as %q: got %d, want %d", step.call, step.path, step.token, got.status, step.want)
		}
	}
}

func TestOnlyTrustedProxiesSayWhereACallerComesFrom(t *testing.T) {
	t.Parallel()
	const trusted = "127.0.0.0/8"
	for name, c := range map[string]struct {
		proxies []string
		headers []string
		want    string
	}{
		"nobody is trusted":              {nil, []string{"X-Forwarded-For: " + "192.0.2.1"}, "127.0.0.1"},
		"the proxy itself":               {[]string{trusted}, nil, "127.0.0.1"},
		"its word":                       {[]string{trusted}, []string{"X-Forwarded-For: " + "192.0.2.1"}, "192.0.2.1"},
		"not what strangers put in":      {[]string{trusted}, []string{"X-Forwarded-For: " + "10.0.0.1, 198.51.100.7, 192.0.2.1"}, "192.0.2.1"},
		"a chain of proxies":             {[]string{trusted, "10.0.0.0/8"}, []string{"X-Forwarded-For: " + "6.6.6.6, 192.0.2.1, 10.1.1.1"}, "192.0.2.1"},
		"all of them proxies":            {[]string{trusted, "10.0.0.0/8"}, []string{"X-Forwarded-For: " + "10.0.0.9, 10.1.1.1"}, "10.0.0.9"},
		"several headers are one":        {[]string{trusted}, []string{"X-Forwarded-For: " + "192.0.2.1", "X-Forwarded-For: " + "192.0.2.2"}, "192.0.2.2"},
		"what is no address ends it":     {[]string{trusted, "10.0.0.0/8"}, []string{"X-Forwarded-For: " + "192.0.2.1, unknown, 10.1.1.1"}, "10.1.1.1"},
		"an empty one too":               {[]string{trusted}, []string{"X-Forwarded-For: " + ""}, "127.0.0.1"},
		"ports and brackets":             {[]string{trusted}, []string{"X-Forwarded-For: " + "[2001:db8::1]:443"}, "2001:db8::1"},
		"IPv4 within IPv6 is IPv4":       {[]string{trusted}, []string{"X-Forwarded-For: " + "::ffff:192.0.2.1"}, "192.0.2.1"},
		"Forwarded":                      {[]string{trusted}, []string{"Forwarded: " + `for=192.0.2.1, For="[2001:db8::2]:47011";proto=https`}, "2001:db8::2"},
		"hidden in Forwarded":            {[]string{trusted}, []string{"Forwarded: " + `for=192.0.2.1, for=_hidden`}, "127.0.0.1"},
		"X-Forwarded-For goes before it": {[]string{trusted}, []string{"Forwarded: " + "for=192.0.2.9", "X-Forwarded-For: " + "192.0.2.1"}, "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := httpapi.Config{}
			for _, p := range c.proxies {
				config.TrustedProxies = append(config.TrustedProxies, netip.MustParsePrefix(p))
			}
			type where struct{ Body struct{ Address string } }
			s := serveConfig(t, config, get("/v1/where", func(ctx context.Context, _ *struct{}) (*where, error) {
				w := &where{}
				w.Body.Address = httpapi.ClientFrom(ctx).Address
				return w, nil
			}))
			got := s.call(t, "GET /v1/where", "", c.headers...)
			if want := `{"Address":"` + c.want + `"}` + "\n"; got.body != want {
				t.Errorf("got %s, want %s", got.body, want)
			}
		})
	}
}

// One machine has a whole /64 of IPv6 to come from.
func TestIPv6IsCountedByItsNetwork(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, a := range []string{"192.0.2.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::9", "2001:db8:1:3::9", "nonsense"} {
		got[a] = httpapi.Client{Address: a}.Network()
	}
	want := map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64",
		"2001:db8:1:3::9": "2001:db8:1:3::/64", "nonsense": "nonsense",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s := limited(t, "api.address=1/1h", "127.0.0.0/8")
	for from, want := range map[string]int{"2001:db8:1:2::1": 204, "2001:db8:1:3::1": 204} {
		if got := s.call(t, "GET /v1/open", "", "X-Forwarded-For: "+from); got.status != want {
			t.Errorf("%s: got %d", from, got.status)
		}
	}
	if got := s.call(t, "GET /v1/open", "", "X-Forwarded-For: 2001:db8:1:2:ffff::1"); got.status != 429 {
		t.Errorf("another address of a /64 that is used up: got %d", got.status)
	}
}

func TestAnOperationWithAnUnknownLimitIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it was registered")
		}
	}()
	limiter, err := limits.New(limits.Default(), []byte("a secret of the test's own......"), nil)
	if err != nil {
		t.Fatal(err)
	}
	api := httpapi.New(httpapi.Config{Limits: limiter, Authenticator: tokens{}})
	httpapi.Register(api, httpapi.Operation{ID: "x", Method: "GET", Path: "/v1/x", Access: httpapi.SignedIn, Limit: "login"},
		func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
}
