package subscription

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Options is how a process works for a group. The zero value of a field is its default.
type Options struct {
	// Concurrency is how many messages this process has in hand at once, each of another stream; 64.
	Concurrency int
	// Retry says when a message that failed is tried again, and when no more.
	Retry Retry
	// TimeLimit is how long a message may be in hand before its context ends; a minute. A handler may Extend it.
	TimeLimit time.Duration
	// Drain is how long messages in hand may take when the process is told to stop, before their contexts end; 10 s.
	Drain time.Duration
	// Lease is how long the slots of a process that fell silent stay its own; 4 s. Without the database for so long, a
	// process ends the contexts of what it has in hand, since others may go on with it.
	Lease time.Duration
	// MaxHeld is how many streams of the group may be set aside; 20,000. Beyond, the group pauses and says so.
	MaxHeld int
	// Window is how many messages are kept in memory to be handed out; 10,000.
	Window int
	// Replays says that the worker takes part in replays: it is handed messages again that were done before a reset. A
	// worker whose effects cannot be taken back, such as a mail, must not.
	Replays bool
	// Observe is told of every message that was handed out: how long it was in hand, and what became of it.
	Observe func(group string, took time.Duration, outcome Outcome)

	slow, idle time.Duration // slowAfter and idleFlush, but for tests
}

// Outcome is what became of a message that was handed out.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Failed    Outcome = "failed"    // and will be tried again
	Delayed   Outcome = "delayed"   // at its handler's wish
	Parked    Outcome = "parked"    // as a dead letter
	CutShort  Outcome = "cut_short" // since the process stops or its lease ended; it comes again
	Withdrawn Outcome = "withdrawn" // before anybody took it
)

// Retry is when a failed message is tried again: after First, then twice as long each time, up to Max, scattered by a
// fifth. After Attempts tries it is parked.
type Retry struct {
	First    time.Duration // 500 ms
	Max      time.Duration // 10 min
	Attempts int           // 15, which takes about an hour; negative for no end
}

// The rhythm of a member.
const (
	flushEvery = 50 * time.Millisecond  // what is done is recorded so soon, and so seldom
	flushRows  = 1000                   // streams and dead letters that are recorded at once, but for a slot that alone has more
	idleFlush  = 2 * time.Second        // how often a member records how far it has read, where nothing was to be done
	slowAfter  = time.Second            // then a message in hand holds up only its own stream
	glance     = 200 * time.Millisecond // how often a member looks whether its group has changed
	sweepEvery = 25 * time.Millisecond  // how often it looks at what is in hand
	lastWait   = 2 * time.Second        // for handlers whose contexts have ended
	queueMax   = 64                     // messages of one stream in memory; the others are read again when it is their turn
	pageEvents = 1000                   // read at once
	loadEvents = 32                     // of one stream that is read on its own
	loadMany   = 128                    // streams at once
	memoryMax  = 64 << 20               // bytes of messages waiting in memory, about
)

func (o Options) withDefaults() Options {
	o.Concurrency = cmp.Or(o.Concurrency, 64)
	o.Retry.First = cmp.Or(o.Retry.First, 500*time.Millisecond)
	o.Retry.Max = cmp.Or(o.Retry.Max, 10*time.Minute)
	o.Retry.Attempts = cmp.Or(o.Retry.Attempts, 15)
	o.TimeLimit = cmp.Or(o.TimeLimit, time.Minute)
	o.Drain = cmp.Or(o.Drain, 10*time.Second)
	o.Lease = cmp.Or(o.Lease, 4*time.Second)
	o.MaxHeld = cmp.Or(o.MaxHeld, 20_000)
	o.Window = cmp.Or(o.Window, 10_000)
	o.slow = cmp.Or(o.slow, slowAfter)
	o.idle = cmp.Or(o.idle, idleFlush)
	if o.Observe == nil {
		o.Observe = func(string, time.Duration, Outcome) {}
	}
	return o
}

// pause returns how long to wait after so many failed attempts.
func (r Retry) pause(attempts int) time.Duration {
	d := r.First
	for ; attempts > 1 && d < r.Max; attempts-- {
		d *= 2
	}
	d = min(d, r.Max)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// last says whether so many attempts were enough.
func (r Retry) last(attempts int) bool { return r.Attempts > 0 && attempts >= r.Attempts }
