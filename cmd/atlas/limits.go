package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/atlas-platform/atlas/internal/limits"
)

// addLimits makes what callers are counted with, in this process or, with Redis, together with other nodes.
func (a *app) addLimits(cfg Config, secret []byte) error {
	settings, err := limits.Parse(cfg.Limits)
	if err != nil {
		return usageError{err}
	}
	var shared *limits.Redis
	if cfg.RedisURL != "" {
		redis.SetLogger(silent{}) // it writes what it thinks of every connection to standard error, past our log
		if shared, err = limits.OpenRedis(cfg.RedisURL.Reveal(), a.node.log); err != nil {
			return usageError{err}
		}
		a.parts = append(a.parts, func(ctx context.Context) error {
			<-ctx.Done()
			return shared.Close()
		})
	}
	if a.limits, err = limits.New(settings, secret, shared); err != nil {
		return err
	}
	a.metrics.Register(limitFigures{a.limits})
	return nil
}

// silent is a log that keeps nothing: what matters of Redis is said by the limits.
type silent struct{}

// Printf does nothing.
func (silent) Printf(context.Context, string, ...any) {}

var (
	refused = prometheus.NewDesc("atlas_rate_limited_total", "Requests that were refused because a limit was used up.", []string{"limit"}, nil)
	shared  = prometheus.NewDesc("atlas_limits_shared", "1 where limits are counted together with other nodes, 0 where Redis does not answer.", nil, nil)
)

// limitFigures reads what the limiter has counted.
type limitFigures struct{ limiter *limits.Limiter }

// Describe implements prometheus.Collector.
func (f limitFigures) Describe(ch chan<- *prometheus.Desc) {
	ch <- refused
	ch <- shared
}

// Collect implements prometheus.Collector.
func (f limitFigures) Collect(ch chan<- prometheus.Metric) {
	for limit, n := range f.limiter.Refused() {
		ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(n), limit)
	}
	if configured, now := f.limiter.Shared(); configured {
		value := 0.0
		if now {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(shared, prometheus.GaugeValue, value)
	}
}
