package eventstore

import "time"

// PollEvery has a tail that does not run yet look by itself only so often.
func (t *Tail) PollEvery(d time.Duration) { t.poll = d }
