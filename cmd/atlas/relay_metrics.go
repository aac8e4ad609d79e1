package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atlas-platform/atlas/workers/relay"
)

var (
	relayLag     = relayFigure("lag_messages", "Messages of a topic that are not forwarded to NATS yet.")
	relaySeconds = relayFigure("lag_seconds", "For how long the oldest message has been there that is not forwarded.")
	relayStuck   = relayFigure("stuck", "1 where a topic stands still with an error.")
	relayHeld    = relayFigure("held", "1 where some process forwards a topic.")
)

func relayFigure(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("atlas_relay_"+name, help, []string{"topic"}, nil)
}

// relayFigures reads how the topics stand whenever the metrics are read.
type relayFigures struct {
	pool      *pgxpool.Pool
	forwarded *prometheus.CounterVec
}

func newRelayFigures(pool *pgxpool.Pool) *relayFigures {
	f := &relayFigures{pool: pool, forwarded: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atlas_relay_forwarded_total", Help: "Messages that this process forwarded and NATS acknowledged.",
	}, []string{"topic"})}
	for _, topic := range outboxTopics() {
		f.forwarded.WithLabelValues(topic)
	}
	return f
}

func (f *relayFigures) count(topic string, n int) { f.forwarded.WithLabelValues(topic).Add(float64(n)) }

// Describe implements prometheus.Collector.
func (f *relayFigures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{relayLag, relaySeconds, relayStuck, relayHeld} {
		ch <- d
	}
	f.forwarded.Describe(ch)
}

// Collect implements prometheus.Collector. Without a database there are only this process's figures.
func (f *relayFigures) Collect(ch chan<- prometheus.Metric) {
	f.forwarded.Collect(ch)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	all, err := relay.List(ctx, f.pool, outboxTopics())
	if err != nil {
		return
	}
	for _, s := range all {
		for desc, value := range map[*prometheus.Desc]float64{
			relayLag: float64(s.Lag), relaySeconds: s.LagSeconds, relayStuck: yes(s.Error != ""), relayHeld: yes(s.Holder != ""),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Topic)
		}
	}
}
