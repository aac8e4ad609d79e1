package main

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atlas-platform/atlas/projections/engine"
)

// addMetrics adds the figures of this process's parts.
func (a *app) addMetrics() {
	a.metrics.Pool(a.node.pool)
	a.metrics.Gauge("atlas_log_read_age_seconds", "Time since this process last read the log.", func() float64 {
		return time.Since(a.tail.LastRead()).Seconds()
	})
	a.metrics.Gauge("atlas_log_oldest_append_seconds", "How long the oldest open append has been open; readers are behind by no more.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		age, err := a.node.store.OldestAppend(ctx)
		if err != nil {
			return math.NaN()
		}
		return age.Seconds()
	})
	a.metrics.Gauge("atlas_revocation_lag_seconds", "Age of what this process knows of revocations: those committed before that are in force.", func() float64 {
		return a.revocations.Age(time.Now()).Seconds()
	})
	a.metrics.Gauge("atlas_revocation_cutoffs", "Cut-offs that this process holds against tokens.", func() float64 {
		return float64(a.revocations.Size())
	})
	a.metrics.Register(&projectionFigures{node: a.node})
}

var (
	lagEvents = prometheus.NewDesc("atlas_projection_lag_positions", "Positions of the log that a projection has not come to yet.",
		[]string{"projection", "version"}, nil)
	stuck = prometheus.NewDesc("atlas_projection_stuck", "1 where a projection stands still with an error.",
		[]string{"projection", "version"}, nil)
)

// projectionFigures reads the checkpoints whenever the metrics are read.
type projectionFigures struct{ node *node }

// Describe implements prometheus.Collector.
func (f *projectionFigures) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagEvents
	ch <- stuck
}

// Collect implements prometheus.Collector. Without a database there are no figures.
func (f *projectionFigures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	newest, err := f.node.store.Newest(ctx)
	if err != nil {
		return
	}
	all, err := engine.List(ctx, f.node.pool, newest)
	if err != nil {
		return
	}
	for _, s := range all {
		version := s.ID.VersionText()
		ch <- prometheus.MustNewConstMetric(lagEvents, prometheus.GaugeValue, float64(s.Lag), s.ID.Name, version)
		standing := 0.0
		if s.Error != "" {
			standing = 1
		}
		ch <- prometheus.MustNewConstMetric(stuck, prometheus.GaugeValue, standing, s.ID.Name, version)
	}
}
