package limits

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
)

// MaxKeys is how many keys are counted in memory at once. One more and the one that was not seen for longest is
// forgotten: whoever can come from so many addresses is held by the limits on accounts and by the hashing gate.
const MaxKeys = 100_000

// busyTries is how often a count that others change at the same moment is tried; after that the key is over its limit.
const busyTries = 50

// Limiter holds callers to the limits. It is safe for concurrent use.
type Limiter struct {
	settings Settings
	secret   []byte
	memory   throttled.GCRAStoreCtx
	shared   *Redis // nil where every node counts for itself
	rates    map[string][]rate
	refused  counters
}

// rate is one rate of a limit, where it is counted.
type rate struct {
	Rate
	policy string // its name in the headers
	prefix string // of its keys
	local  *throttled.GCRARateLimiterCtx
	shared *throttled.GCRARateLimiterCtx // nil without Redis
}

// New returns a limiter. The secret keys the hashes under which callers are counted; nodes that share counts share it.
// shared may be nil.
func New(settings Settings, secret []byte, shared *Redis) (*Limiter, error) {
	memory, err := memstore.NewCtx(MaxKeys)
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	l := &Limiter{settings: settings, secret: secret, memory: memory, shared: shared, rates: map[string][]rate{}, refused: newCounters()}
	for _, limit := range settings.Limits {
		l.rates[limit.Name] = []rate{}
		for i, r := range limit.Rates {
			made, err := l.rate(limit.Name, i, r)
			if err != nil {
				return nil, fmt.Errorf("limit %s: %w", limit.Name, err)
			}
			l.rates[limit.Name] = append(l.rates[limit.Name], made)
		}
	}
	return l, nil
}

func (l *Limiter) rate(name string, nth int, r Rate) (made rate, err error) {
	made = rate{Rate: r, policy: name, prefix: name + "/" + r.String() + ":"}
	if nth > 0 {
		made.policy = name + "/" + short(r.Window)
	}
	if made.local, err = gcra(l.memory, r); err != nil || l.shared == nil {
		return made, err
	}
	made.shared, err = gcra(l.shared.store, r)
	return made, err
}

func gcra(store throttled.GCRAStoreCtx, r Rate) (*throttled.GCRARateLimiterCtx, error) {
	made, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate: throttled.PerDuration(r.Quota, r.Window), MaxBurst: r.Quota - 1,
	})
	if err == nil {
		made.SetMaxCASAttemptsLimit(busyTries)
	}
	return made, err
}

// Settings returns what the limiter holds callers to.
func (l *Limiter) Settings() Settings { return l.settings }

// Knows says whether there is a limit with the name, be it switched off.
func (l *Limiter) Knows(name string) bool {
	_, known := l.rates[name]
	return known
}

// Standing is where a key stands with one rate of a limit.
type Standing struct {
	Policy    string
	Rate      Rate
	Remaining int           // how many more are allowed now
	Reset     time.Duration // until all of the quota is there again
}

// Verdict is what came of asking for one more.
type Verdict struct {
	Standings  []Standing    // by rate; none where the limit is switched off
	Refused    bool          // at least one rate is used up
	RetryAfter time.Duration // when asking again is worth it, if it was refused
}

// Take asks for one more of what the limit counts, for a key. It panics on a name that is no limit: names are written in
// the code, and New has every one.
func (l *Limiter) Take(ctx context.Context, name, key string) (v Verdict) {
	rates, known := l.rates[name]
	if !known {
		panic(fmt.Sprintf("limits: there is no limit %q", name))
	}
	for _, r := range rates {
		limited, result := l.take(ctx, r, r.prefix+l.hide(key))
		v.Standings = append(v.Standings, Standing{Policy: r.policy, Rate: r.Rate, Remaining: result.Remaining, Reset: result.ResetAfter})
		if limited {
			v.Refused, v.RetryAfter = true, max(v.RetryAfter, result.RetryAfter, time.Millisecond)
		}
	}
	if v.Refused {
		l.refused.add(name)
	}
	return v
}

// take asks Redis, or the memory where there is none or it does not answer.
func (l *Limiter) take(ctx context.Context, r rate, key string) (limited bool, result throttled.RateLimitResult) {
	if r.shared != nil {
		err := l.shared.try(ctx, func(ctx context.Context) (err error) {
			limited, result, err = r.shared.RateLimitCtx(ctx, key, 1)
			return err
		})
		if err == nil {
			return limited, result
		}
	}
	limited, result, err := r.local.RateLimitCtx(ctx, key, 1)
	if err != nil { // memory fails only where too many change one count at once
		return true, throttled.RateLimitResult{RetryAfter: time.Second, ResetAfter: r.Window}
	}
	return limited, result
}

// hide returns what a key is counted under.
func (l *Limiter) hide(key string) string {
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:15])
}

// Refused says how often each limit refused somebody, by name, since the start of the process.
func (l *Limiter) Refused() map[string]uint64 { return l.refused.read() }

// Shared says whether counts are shared with other nodes, and whether they are now.
func (l *Limiter) Shared() (configured, now bool) {
	return l.shared != nil, l.shared != nil && l.shared.up()
}

// Seconds rounds a wait up to whole seconds, as headers have it; never down to none.
func Seconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Round(time.Millisecond).Seconds())) }
