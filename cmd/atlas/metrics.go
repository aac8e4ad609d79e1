package main

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/projections/engine"
)

// addMetrics adds the figures of this process's parts.
func (a *app) addMetrics(handler *commands.Handler) {
	a.metrics.Pool(a.node.pool)
	a.metrics.Gauge("atlas_log_read_age_seconds", "Time since this process last read the log.", func() float64 {
		return time.Since(a.tail.LastRead()).Seconds()
	})
	a.metrics.Gauge("atlas_log_oldest_append_seconds", "How long the oldest open append has been open; readers are behind by no more.",
		seconds(a.node.store.OldestAppend))
	a.metrics.Gauge("atlas_log_seal_lag_seconds", "For how long the oldest event that is not sealed into the chain has been in the log.",
		seconds(func(ctx context.Context) (time.Duration, error) { return chain.Lag(ctx, a.node.pool) }))
	a.metrics.Counter("atlas_command_cache_hits_total", "Commands that found their stream's state in memory.", func() float64 {
		hits, _ := handler.Stats()
		return float64(hits)
	})
	a.metrics.Counter("atlas_command_cache_misses_total", "Commands that had to read their stream.", func() float64 {
		_, misses := handler.Stats()
		return float64(misses)
	})
	a.metrics.Gauge("atlas_revocation_lag_seconds", "Age of what this process knows of revocations: those committed before that are in force.", func() float64 {
		return a.revocations.Age(time.Now()).Seconds()
	})
	a.metrics.Gauge("atlas_revocation_cutoffs", "Cut-offs that this process holds against tokens.", func() float64 {
		return float64(a.revocations.Size())
	})
	a.addFeedMetrics()
	a.metrics.Register(&projectionFigures{node: a.node})
}

// addFeedMetrics adds the figures of the feeds that this process serves.
func (a *app) addFeedMetrics() {
	if a.feeds == nil {
		return
	}
	a.metrics.Gauge("atlas_feeds_open", "Feeds of events that are open.", func() float64 { return float64(a.feeds.Stats().Open) })
	a.metrics.Gauge("atlas_feeds_lag_positions", "Positions of the log that the slowest open feed has not brought yet.", func() float64 {
		return float64(a.feeds.Stats().Lag)
	})
	a.metrics.Counter("atlas_feeds_dropped_total", "Feeds that were ended because their reader was too slow.", func() float64 {
		return float64(a.feeds.Stats().Dropped)
	})
	a.metrics.Counter("atlas_feed_events_total", "Events that feeds brought.", func() float64 { return float64(a.feeds.Stats().Sent) })
}

// seconds reads a time from the database whenever the metrics are read. Without a database there is no figure.
func seconds(read func(context.Context) (time.Duration, error)) func() float64 {
	return func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		took, err := read(ctx)
		if err != nil {
			return math.NaN()
		}
		return took.Seconds()
	}
}

var (
	lagPositions = projectionGauge("lag_positions", "Positions of the log that a projection has not come to yet.")
	lagEvents    = projectionGauge("lag_events", "Events that a projection has not folded yet.")
	lagSeconds   = projectionGauge("lag_seconds", "How long the oldest event that a projection has not folded has been waiting.")
	parkedKeys   = projectionGauge("parked_keys", "Rows that wait for an event that could not be folded.")
	stuck        = projectionGauge("stuck", "1 where a projection stands still with an error.")
)

func projectionGauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("atlas_projection_"+name, help, []string{"projection", "version"}, nil)
}

// projectionFigures reads the checkpoints whenever the metrics are read.
type projectionFigures struct{ node *node }

// Describe implements prometheus.Collector.
func (f *projectionFigures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagPositions, lagEvents, lagSeconds, parkedKeys, stuck} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Without a database there are no figures.
func (f *projectionFigures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	newest, err := f.node.store.Newest(ctx)
	if err != nil {
		return
	}
	all, err := engine.Lags(ctx, f.node.pool)
	if err != nil {
		return
	}
	for _, l := range all {
		set := func(d *prometheus.Desc, value float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, l.ID.Name, l.ID.VersionText())
		}
		set(lagPositions, float64(max(newest-l.Position, 0)))
		set(lagEvents, float64(l.Events))
		set(lagSeconds, l.Behind.Seconds())
		set(parkedKeys, float64(l.Parked))
		standing := 0.0
		if l.Error != "" {
			standing = 1
		}
		set(stuck, standing)
	}
}

// yes is 1 for true and 0 for false.
func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
