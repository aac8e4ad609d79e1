package subscription

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// features is what the subscriber promises in Watermill's terms.
func features(exactlyOnce bool) tests.Features {
	return tests.Features{
		ConsumerGroups:      true,
		ExactlyOnceDelivery: exactlyOnce,
		GuaranteedOrder:     true,
		Persistent:          true,
		ForceShort:          !*whole,
	}
}

// conforming are options under which the suite's nacks come again at once and for ever.
func conforming() Options {
	return Options{
		Retry: Retry{First: time.Millisecond, Max: 10 * time.Millisecond, Attempts: -1},
		Drain: 200 * time.Millisecond, Lease: 4 * time.Second,
	}
}

func constructor(l *logtest.Log) tests.ConsumerGroupPubSubConstructor {
	return func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		t.Helper()
		s, err := NewSubscriber(on(l), SubscriberConfig{Group: strings.ToLower(group), Options: conforming()})
		if err != nil {
			t.Fatal(err)
		}
		return NewPublisher(l.Store), s
	}
}

// conform runs the suite. In full length it restarts the server, which is the test's own then; but not under the race
// detector, since that test of the suite (v1.5.1) has a race of its own, between what it published and what it compares.
func conform(t *testing.T, exactlyOnce bool) {
	f := features(exactlyOnce)
	if !*whole || raced {
		suite(t, tests.TestPubSub, f, logtest.New(t, Migrations()))
		return
	}
	server := pgtest.StartServer(t)
	f.RestartServiceCommand = server.RestartCommand()
	suite(t, tests.TestPubSub, f, logtest.On(t, server.URL(), Migrations()))
}

type suiteFunc func(*testing.T, tests.Features, tests.PubSubConstructor, tests.ConsumerGroupPubSubConstructor)

func suite(t *testing.T, run suiteFunc, f tests.Features, l *logtest.Log) {
	t.Helper()
	make := constructor(l)
	run(t, f, func(t *testing.T) (message.Publisher, message.Subscriber) { return make(t, "suite") }, make)
}

// TestSubscriberConformsToWatermillUnderStress runs ten suites beside one another (STRESS_TEST_COUNT); with -tags stress
// they have more time.
func TestSubscriberConformsToWatermillUnderStress(t *testing.T) {
	t.Parallel()
	if !*whole {
		t.Skip("takes minutes: -whole")
	}
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprint(exactlyOnce), func(t *testing.T) {
			f := features(exactlyOnce)
			f.ForceShort = true
			suite(t, tests.TestPubSubStressTest, f, logtest.New(t, Migrations()))
		})
	}
}

func TestSubscriberConformsToWatermill(t *testing.T) {
	t.Parallel()
	conform(t, false)
}

func TestSubscriberConformsToWatermillExactlyOnce(t *testing.T) {
	t.Parallel()
	conform(t, true)
}

// TestNewGroupReceivesOldMessages is the suite's test for those whose every subscriber is a group of its own.
func TestNewGroupReceivesOldMessages(t *testing.T) {
	t.Parallel()
	l := logtest.New(t, Migrations())
	f := features(true)
	f.NewSubscriberReceivesOldMessages = true
	tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{TestID: tests.NewTestID(), Features: f},
		func(t *testing.T) (message.Publisher, message.Subscriber) { return constructor(l)(t, uuid.NewString()) })
}
