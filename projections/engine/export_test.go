package engine

// BatchSize is how many events are folded in one transaction.
const BatchSize = batchSize

// Waiting says how many wait, and whether anybody looks at the checkpoints for them.
func (w *Waiter) Waiting() (waiting int, polling bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting), w.polling
}
