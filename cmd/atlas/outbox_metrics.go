package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atlas-platform/atlas/workers/outbox"
)

var (
	topicMessages  = outboxFigure("topic_messages", "Messages that a topic of the outbox holds.", "topic")
	topicOldest    = outboxFigure("topic_oldest_seconds", "Age of the oldest message of a topic.", "topic")
	topicPruned    = outboxFigure("topic_pruned_total", "Messages of a topic that this process has pruned.", "topic")
	groupLag       = outboxFigure("group_lag_messages", "Messages that a consumer group has not read.", "topic", "group")
	groupSeconds   = outboxFigure("group_lag_seconds", "Age of the first message that a consumer group has not read.", "topic", "group")
	groupIdle      = outboxFigure("group_idle_seconds", "How long a consumer group with messages to read has not moved.", "topic", "group")
	groupAbandoned = outboxFigure("group_abandoned", "1 where a consumer group is abandoned: what it has not read may be pruned.", "topic", "group")
	groupMissed    = outboxFigure("group_missed_messages", "Messages that were pruned before a consumer group had read them.", "topic", "group")
)

func outboxFigure(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("atlas_outbox_"+name, help, labels, nil)
}

// outboxFigures reads the topics whenever the metrics are read, and tells what this process's keeper has pruned.
type outboxFigures struct {
	pool   *pgxpool.Pool
	keeper *outbox.Keeper
}

// Describe implements prometheus.Collector.
func (f outboxFigures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{topicMessages, topicOldest, topicPruned, groupLag, groupSeconds, groupIdle, groupAbandoned, groupMissed} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Without a database there are only this process's figures.
func (f outboxFigures) Collect(ch chan<- prometheus.Metric) {
	for topic, n := range f.keeper.Pruned() {
		ch <- prometheus.MustNewConstMetric(topicPruned, prometheus.CounterValue, float64(n), topic)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	all, err := outbox.Status(ctx, f.pool, outboxTopics())
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, t := range all {
		gauge(topicMessages, float64(t.Messages), t.Topic)
		gauge(topicOldest, t.Oldest.Seconds(), t.Topic)
		for _, g := range t.Groups {
			gauge(groupLag, float64(g.Lag), t.Topic, g.Group)
			gauge(groupSeconds, g.LagTime.Seconds(), t.Topic, g.Group)
			gauge(groupIdle, g.Idle.Seconds(), t.Topic, g.Group)
			gauge(groupAbandoned, yes(g.Abandoned != nil), t.Topic, g.Group)
			gauge(groupMissed, float64(g.Missed), t.Topic, g.Group)
		}
	}
}
