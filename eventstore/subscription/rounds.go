package subscription

import "sync"

// How many rounds of calls of one key are under way at once, and how much goes together in one.
const (
	roundsAtOnce = 2   // one works while the other's commit is flushed
	roundSize    = 500 // messages
)

// rounds brings calls that wait at the same time into one statement, since what costs most of a call for one message is its
// transaction. A call begins a round at once where fewer than two of its key are under way; those that come meanwhile wait,
// and go together in the next. Nobody waits for a timer. So a thousand workers who ask for a message each cost what ten do who
// ask for a hundred, and hold four connections of the pool. It is safe for concurrent use.
type rounds[K comparable, C any] struct {
	size  func(C) int            // messages that a call is about
	carry func(key K, calls []C) // carries a round out, and tells each of its calls how it ended

	mu       sync.Mutex
	counters map[K]*counter[C] // with calls or rounds
}

// counter is where the calls of one key wait.
type counter[C any] struct {
	waiting []C
	rounds  int
}

func newRounds[K comparable, C any](size func(C) int, carry func(K, []C)) *rounds[K, C] {
	return &rounds[K, C]{size: size, carry: carry, counters: map[K]*counter[C]{}}
}

// join has a call carried out with others of its key. It does not wait.
func (r *rounds[K, C]) join(key K, call C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.counters[key]
	if at == nil {
		at = &counter[C]{}
		r.counters[key] = at
	}
	at.waiting = append(at.waiting, call)
	if at.rounds < roundsAtOnce {
		at.rounds++
		go r.run(key, at)
	}
}

// run carries out one round after the other, until nobody waits.
func (r *rounds[K, C]) run(key K, at *counter[C]) {
	for {
		calls := r.next(key, at)
		if len(calls) == 0 {
			return
		}
		r.carry(key, calls)
	}
}

// next takes the calls of a round, whoever has waited for longest first; none where the runner's time is over.
func (r *rounds[K, C]) next(key K, at *counter[C]) []C {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(at.waiting) && (n == 0 || size+r.size(at.waiting[n]) <= roundSize) {
		size += r.size(at.waiting[n])
		n++
	}
	if n == 0 {
		if at.rounds--; at.rounds == 0 {
			delete(r.counters, key)
		}
		return nil
	}
	calls := at.waiting[:n:n]
	at.waiting = at.waiting[n:]
	return calls
}
