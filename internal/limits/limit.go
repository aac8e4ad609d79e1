package limits

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rate is how often: Quota times in each Window. A burst of the whole quota is allowed.
type Rate struct {
	Quota  int           `json:"quota"`
	Window time.Duration `json:"-"`
}

// String returns the rate as a setting spells it: "30/1m".
func (r Rate) String() string { return strconv.Itoa(r.Quota) + "/" + short(r.Window) }

// Limit is a named limit. One without rates is switched off.
type Limit struct {
	Name  string
	About string // what it counts, by whom
	Rates []Rate
}

// Backoff is how failed tries make the next one wait.
type Backoff struct {
	Name  string
	About string
	Free  int           // failures that cost nothing
	Max   time.Duration // the longest wait; 0 switches waiting off
}

// Settings is every limit there is, in the order of Default.
type Settings struct {
	Limits []Limit
	Login  Backoff
}

// Default returns the limits of Atlas as they are without a setting.
func Default() Settings {
	return Settings{
		Limits: []Limit{
			{"login.address", "sign-ins from one client address", []Rate{{30, time.Minute}, {300, time.Hour}}},
			{"register.address", "sign-ups from one client address", []Rate{{30, time.Hour}}},
			{"register.account", "sign-ups for one e-mail address, whether or not it has an account", []Rate{{5, time.Hour}}},
			{"verify.address", "sign-ups completed from one client address", []Rate{{30, time.Hour}}},
			{"refresh.session", "refreshes of one session", []Rate{{30, time.Minute}}},
			{"password.principal", "passwords that one signed-in user gives, to change it or to prove who they are", []Rate{{10, time.Minute}}},
			{"api.principal", "requests of one user, with their API keys, or of one service key", []Rate{{600, time.Minute}}},
			{"api.address", "requests from one client address without a credential, or with one that is refused", []Rate{{60, time.Minute}}},
		},
		Login: Backoff{"login.delay", "failed sign-ins for one e-mail address that cost no wait, and the longest wait after more", 4, time.Minute},
	}
}

// Find returns the limit with the name.
func (s Settings) Find(name string) (Limit, bool) {
	at := slices.IndexFunc(s.Limits, func(l Limit) bool { return l.Name == name })
	if at < 0 {
		return Limit{}, false
	}
	return s.Limits[at], true
}

// short writes a duration without the units that are zero: "1m", not "1m0s".
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
