package measure

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Side is one of the two that are compared.
type Side struct {
	// Sample works for about so long.
	Sample func(ctx context.Context, length time.Duration) (*Sample, error)
	// Done counts what is there of the units that all samples say they did. It may be nil where nothing stays.
	Done func(ctx context.Context) (int64, error)
}

// Contest is Atlas beside the bare minimum.
type Contest struct {
	Atlas, Bare Side
	Unit        string                // of the value, such as "events/s"
	Value       func(*Sample) float64 // of a sample; its rate if nil. A pair's ratio is Atlas's value by the bare one's
	Memory      bool                  // also report the process's memory, and whether it grows
	Bound       float64               // in MiB: also report the most that the process has while Atlas works, beside this; 0 for not
}

// Plan says how long and how often to measure.
type Plan struct {
	Clients  int
	Length   time.Duration // of a sample
	Pairs    int
	Progress func(done, total int) // in samples; may be nil
}

// Figure is one measurement. Its JSON is one line of `atlas bench --json`.
type Figure struct {
	Case    string  `json:"case"`
	Clients int     `json:"clients"`
	Value   float64 `json:"value"` // the median of Atlas's samples
	Unit    string  `json:"unit"`
	Limit   float64 `json:"limit"`  // the median of the bare minimum's
	Ratio   float64 `json:"ratio"`  // the median of the pairs' ratios
	P50     float64 `json:"p50_ms"` // of one act of Atlas's
	P99     float64 `json:"p99_ms"`
}

// Compare measures a contest, and returns its figures under the name.
func Compare(ctx context.Context, name string, c Contest, plan Plan) ([]Figure, error) {
	r := &run{contest: c, plan: plan}
	if err := r.all(ctx); err != nil {
		return nil, fmt.Errorf("measure %s with %d clients: %w", name, plan.Clients, err)
	}
	figures := []Figure{{
		Case: name, Clients: plan.Clients, Unit: c.Unit,
		Value: round(median(r.values)), Limit: round(median(r.limits)), Ratio: round(median(r.ratios)),
		P50: milliseconds(r.latencies.Quantile(0.50)), P99: milliseconds(r.latencies.Quantile(0.99)),
	}}
	if c.Memory {
		figures = append(figures, r.memory.figure(name, plan.Clients))
	}
	if c.Bound > 0 {
		figures = append(figures, Figure{
			Case: name + ".peak", Clients: plan.Clients, Unit: "MiB",
			Value: round(r.peak), Limit: c.Bound, Ratio: round(r.peak / c.Bound),
		})
	}
	return figures, nil
}

// run is a contest under way.
type run struct {
	contest                Contest
	plan                   Plan
	samples                int
	units                  [2]int64 // done by Atlas and by the bare minimum
	values, limits, ratios []float64
	latencies              Latencies
	memory                 memory
	peak                   float64 // MiB
}

// all takes a short sample of each side, to warm them up, and then the pairs.
func (r *run) all(ctx context.Context) error {
	for side := range 2 {
		if _, err := r.sample(ctx, side, min(r.plan.Length, time.Second)); err != nil {
			return err
		}
	}
	for pair := range r.plan.Pairs {
		if err := r.pair(ctx, pair%2); err != nil {
			return err
		}
	}
	return r.check(ctx)
}

// pair takes a sample of each side, beginning with the one given.
func (r *run) pair(ctx context.Context, begin int) error {
	var values [2]float64
	for _, side := range []int{begin, 1 - begin} {
		s, err := r.sample(ctx, side, r.plan.Length)
		if err != nil {
			return err
		}
		values[side] = r.value(s)
		if side == 0 {
			r.latencies.Merge(&s.Latencies)
			r.memory.look()
		}
	}
	r.values, r.limits = append(r.values, values[0]), append(r.limits, values[1])
	r.ratios = append(r.ratios, values[0]/values[1])
	return nil
}

func (r *run) sample(ctx context.Context, side int, length time.Duration) (*Sample, error) {
	watch := func() {}
	if side == 0 && r.contest.Bound > 0 {
		watch = r.watchPeak()
	}
	s, err := r.side(side).Sample(ctx, length)
	watch()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sideNames[side], err)
	}
	if s.Units == 0 {
		return nil, fmt.Errorf("%s did nothing in %v", sideNames[side], s.Took)
	}
	r.units[side] += s.Units
	if r.samples++; r.plan.Progress != nil {
		r.plan.Progress(r.samples, 2+2*r.plan.Pairs)
	}
	return s, nil
}

var sideNames = [2]string{"atlas", "the bare minimum"}

func (r *run) side(n int) Side { return [2]Side{r.contest.Atlas, r.contest.Bare}[n] }

func (r *run) value(s *Sample) float64 {
	if r.contest.Value != nil {
		return r.contest.Value(s)
	}
	return s.Rate()
}

// check holds both sides to what they said.
func (r *run) check(ctx context.Context) error {
	for n := range 2 {
		side := r.side(n)
		if side.Done == nil {
			continue
		}
		done, err := side.Done(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", sideNames[n], err)
		}
		if done != r.units[n] {
			return fmt.Errorf("%s did %d and said %d", sideNames[n], done, r.units[n])
		}
	}
	return nil
}

// median sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
