package limits

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a setting may say. Below a microsecond between two requests the arithmetic has nothing left to count.
const (
	maxQuota  = 1_000_000
	maxWindow = 24 * time.Hour
	minPace   = time.Microsecond
)

// every is the name that stands for all limits in a setting.
const every = "*"

// Parse returns the default limits as the setting changes them: "login.address=60/1m+600/1h, api.principal=off". A rate
// is QUOTA/WINDOW, several are joined by +, off switches a limit off, and * stands for every rate, so that what follows it
// can take an exception. login.delay is FREE/LONGEST: how many failures cost nothing, and the longest wait after more.
// All faults are in the one error.
func Parse(setting string) (Settings, error) {
	s := Default()
	var faults []error
	seen := map[string]bool{}
	for item := range strings.SplitSeq(setting, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] {
			faults = append(faults, fmt.Errorf("%s is given twice", name))
			continue
		}
		seen[name] = true
		if err := s.set(name, value); err != nil {
			faults = append(faults, err)
		}
	}
	return s, errors.Join(faults...)
}

func (s *Settings) set(name, value string) error {
	rates, err := parseRates(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if name == s.Login.Name {
		return s.Login.set(rates)
	}
	found := false
	for i := range s.Limits {
		if name == every || name == s.Limits[i].Name {
			s.Limits[i].Rates, found = slices.Clone(rates), true
		}
	}
	if !found {
		return fmt.Errorf("%q is no limit; there are %s", name, strings.Join(s.names(), ", "))
	}
	return nil
}

func (b *Backoff) set(rates []Rate) error {
	if len(rates) > 1 {
		return fmt.Errorf("%s takes one pair: failures that are free/longest wait", b.Name)
	}
	b.Free, b.Max = 0, 0
	if len(rates) == 1 {
		b.Free, b.Max = rates[0].Quota, rates[0].Window
	}
	return nil
}

func (s *Settings) names() (names []string) {
	for _, l := range s.Limits {
		names = append(names, l.Name)
	}
	return append(names, s.Login.Name, every)
}

// parseRates reads "30/1m+300/1h", or "off", which is none.
func parseRates(text string) (rates []Rate, err error) {
	if text == "off" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, "+") {
		rate, err := parseRate(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

func parseRate(text string) (Rate, error) {
	quota, window, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(quota)
	if err != nil {
		return Rate{}, errors.New("write QUOTA/WINDOW, such as 30/1m, or off")
	}
	if n < 1 || n > maxQuota {
		return Rate{}, fmt.Errorf("a quota is 1 to %d", maxQuota)
	}
	if window != "" && strings.Trim(window[:1], "0123456789") != "" {
		window = "1" + window // "30/m"
	}
	d, err := time.ParseDuration(window)
	if err != nil {
		return Rate{}, errors.New("write QUOTA/WINDOW, such as 30/1m, or off")
	}
	if d < time.Second || d > maxWindow || d/time.Duration(n) < minPace {
		return Rate{}, fmt.Errorf("a window is 1s to %s", short(maxWindow))
	}
	return Rate{Quota: n, Window: d}, nil
}
