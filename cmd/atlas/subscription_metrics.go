package main

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atlas-platform/atlas/eventstore/subscription"
)

var (
	subscriptionLag     = subscriptionFigure("lag_positions", "Positions of the log that a subscription has not come to yet, also those of no event that it chose: alarm on lag_seconds.")
	subscriptionSeconds = subscriptionFigure("lag_seconds", "How long ago the first event was recorded that a subscription has not come to.")
	subscriptionHeld    = subscriptionFigure("held_streams", "Streams that a subscription has set aside.")
	subscriptionFailing = subscriptionFigure("failing_streams", "Streams whose first message failed and will be tried again.")
	subscriptionParked  = subscriptionFigure("parked_messages", "Messages that failed for good.")
	subscriptionPaused  = subscriptionFigure("paused", "1 where a subscription reads no further since too many streams are held.")
	subscriptionMembers = subscriptionFigure("processes", "Processes that work for a subscription.")
)

func subscriptionFigure(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("atlas_subscription_"+name, help, []string{"subscription"}, nil)
}

// subscriptionFigures reads the subscriptions whenever the metrics are read, and counts what this process hands out.
type subscriptionFigures struct {
	log     *subscription.Log
	handled *prometheus.HistogramVec
}

func newSubscriptionFigures(log *subscription.Log) *subscriptionFigures {
	return &subscriptionFigures{log: log, handled: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "atlas_subscription_handler_seconds",
		Help:    "How long messages were in hand, by what became of them: each is an attempt.",
		Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300},
	}, []string{"subscription", "outcome"})}
}

// observe counts a message that was handed out.
func (f *subscriptionFigures) observe(group string, took time.Duration, outcome subscription.Outcome) {
	f.handled.WithLabelValues(group, string(outcome)).Observe(took.Seconds())
}

// Describe implements prometheus.Collector.
func (f *subscriptionFigures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{subscriptionLag, subscriptionSeconds, subscriptionHeld, subscriptionFailing,
		subscriptionParked, subscriptionPaused, subscriptionMembers, subscriptionInHand} {
		ch <- d
	}
	f.handled.Describe(ch)
}

var subscriptionInHand = subscriptionFigure("in_hand", "Messages that this process has in hand.")

// Collect implements prometheus.Collector. Without a database there are only this process's figures.
func (f *subscriptionFigures) Collect(ch chan<- prometheus.Metric) {
	f.handled.Collect(ch)
	for group, n := range f.log.InHand() {
		ch <- prometheus.MustNewConstMetric(subscriptionInHand, prometheus.GaugeValue, float64(n), group)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	all, err := f.log.List(ctx)
	if err != nil {
		return
	}
	for _, s := range all {
		paused := slices.ContainsFunc(s.Members, func(m subscription.Member) bool { return m.Paused != "" })
		for desc, value := range map[*prometheus.Desc]float64{
			subscriptionLag: float64(s.Lag), subscriptionSeconds: s.LagTime.Seconds(), subscriptionHeld: float64(s.Held),
			subscriptionFailing: float64(s.Failing), subscriptionParked: float64(s.Parked), subscriptionPaused: yes(paused),
			subscriptionMembers: float64(len(s.Members)),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Name)
		}
	}
}
