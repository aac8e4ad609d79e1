package main

import (
	"context"
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
