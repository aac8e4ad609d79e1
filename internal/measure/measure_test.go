package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a side whose samples have these rates, one after the other.
type scripted struct {
	name  string
	rates []float64
	order *[]string
	said  int64
	lies  int64 // how many units more are there than were said
}

func (s *scripted) side() Side {
	return Side{
		Sample: func(context.Context, time.Duration) (*Sample, error) {
			*s.order = append(*s.order, s.name)
			rate := s.rates[0]
			s.rates = s.rates[1:]
			s.said += int64(rate)
			return &Sample{Units: int64(rate), Took: time.Second}, nil
		},
		Done: func(context.Context) (int64, error) { return s.said + s.lies, nil },
	}
}

func TestTheRatioIsTheMedianOfPairsThatTakeTurns(t *testing.T) {
	t.Parallel()
	var order []string
	// The first sample of each is the warm-up. The machine is ten times as fast in the second pair.
	atlas := &scripted{name: "atlas", rates: []float64{1, 50, 800, 60}, order: &order}
	bare := &scripted{name: "bare", rates: []float64{1, 100, 1000, 100}, order: &order}
	got, err := Compare(context.Background(), "case", Contest{Atlas: atlas.side(), Bare: bare.side(), Unit: "events/s"}, Plan{Clients: 8, Pairs: 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Figure{Case: "case", Clients: 8, Value: 60, Unit: "events/s", Limit: 100, Ratio: 0.6}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := "atlas bare atlas bare bare atlas atlas bare"; strings.Join(order, " ") != want {
		t.Errorf("samples were taken in the order %v, want %s", order, want)
	}
}

func TestASideThatDidOtherThanItSaidHasNoFigures(t *testing.T) {
	t.Parallel()
	for _, lies := range []int64{-1, 1} {
		var order []string
		atlas := &scripted{name: "atlas", rates: []float64{5, 5}, order: &order}
		bare := &scripted{name: "bare", rates: []float64{5, 5}, order: &order, lies: lies}
		got, err := Compare(context.Background(), "case", Contest{Atlas: atlas.side(), Bare: bare.side()}, Plan{Pairs: 1})
		if err == nil || !strings.Contains(err.Error(), "the bare minimum did") || got != nil {
			t.Errorf("%+d: got %v, %v, want an error that names the side", lies, got, err)
		}
	}
}

func TestASampleEndsWithItsClientsFirstError(t *testing.T) {
	t.Parallel()
	fault := errors.New("fault")
	var acts atomic.Int64
	s, err := Clients(context.Background(), 4, time.Hour, func(ctx context.Context, client int) (int64, error) {
		if acts.Add(1) > 40 && client == 2 {
			return 0, fault
		}
		return 3, ctx.Err()
	})
	if !errors.Is(err, fault) {
		t.Errorf("got %v, want %v", err, fault)
	}
	if s.Units != 3*s.Latencies.count || s.Units == 0 {
		t.Errorf("%d units in %d acts, want 3 in each", s.Units, s.Latencies.count)
	}
}

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var l, half Latencies
	var all []time.Duration
	for i := range 10_000 {
		took := time.Duration(1) << random.IntN(40)
		took += rand.N(took)
		all = append(all, took)
		if i%2 == 0 {
			l.Add(took)
		} else {
			half.Add(took)
		}
	}
	l.Merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 1} {
		exact := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := l.Quantile(q); got < exact || float64(got) > float64(exact)*1.033 {
			t.Errorf("quantile %v is %v, want %v", q, got, exact)
		}
	}
	if got := new(Latencies).Quantile(0.5); got != 0 {
		t.Errorf("of nothing the median is %v", got)
	}
}

func TestAFigureIsALineOfJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := Figure{Case: "append", Clients: 8, Value: 60, Unit: "events/s", Limit: 100, Ratio: 0.6, P50: 1, P99: 2.5}
	if err := WriteJSON(&out, []Figure{f, f}); err != nil {
		t.Fatal(err)
	}
	const line = `{"case":"append","clients":8,"value":60,"unit":"events/s","limit":100,"ratio":0.6,"p50_ms":1,"p99_ms":2.5}` + "\n"
	if got := out.String(); got != line+line {
		t.Errorf("got %s", got)
	}
	if err := json.Unmarshal(out.Bytes()[:len(line)], &f); err != nil {
		t.Error(err)
	}
}

func TestThePeakIsWhatWasHeldWhileAtlasWorked(t *testing.T) {
	t.Parallel()
	const mib = 32
	hold := func(bytes int) Side {
		return Side{Sample: func(context.Context, time.Duration) (*Sample, error) {
			held := make([]byte, bytes)
			for i := 0; i < len(held); i += 4096 {
				held[i] = 1
			}
			return &Sample{Units: int64(held[0]), Took: time.Second}, nil
		}}
	}
	got, err := Compare(context.Background(), "case", Contest{Atlas: hold(mib << 20), Bare: hold(1), Bound: 1000}, Plan{Pairs: 1})
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v, want a figure and its peak", got, err)
	}
	if p := got[1]; p.Case != "case.peak" || p.Value < mib || p.Limit != 1000 {
		t.Errorf("got %+v, want at least the %d MiB that were held, beside 1000", p, mib)
	}
}

func TestMemoryIsComparedBetweenTheFirstAndTheLastSamples(t *testing.T) {
	t.Parallel()
	m := memory{readings: []float64{10, 12, 11, 90, 90, 90, 22, 23, 21}}
	want := Figure{Case: "append.memory", Clients: 8, Value: 22, Unit: "MiB", Limit: 11, Ratio: 2}
	if got := m.figure("append", 8); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := resident(); got < 1 || got > 1<<20 {
		t.Errorf("this process takes %v MiB", got)
	}
}

func TestPacedActsBeginWhenTheyAreDueAndCountFromThen(t *testing.T) {
	t.Parallel()
	// No act ends before all have begun, so they do not wait for one another; and the first was due long before that.
	const acts = 50
	var begun atomic.Int64
	all := make(chan struct{})
	s, err := Paced(t.Context(), 1000, acts*time.Millisecond, func(context.Context) error {
		if begun.Add(1) == acts {
			close(all)
		}
		<-all
		return nil
	})
	if err != nil || s.Units != acts {
		t.Fatalf("%d acts, %v, want %d", s.Units, err, acts)
	}
	if got := s.Latencies.Quantile(1); got < (acts-1)*time.Millisecond {
		t.Errorf("the first took %v, though the last was due %v later", got, (acts-1)*time.Millisecond)
	}
}

func TestAPacedSampleEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	fault := errors.New("fault")
	var acts atomic.Int64
	s, err := Paced(t.Context(), 1000, time.Hour, func(ctx context.Context) error {
		if acts.Add(1) == 5 {
			return fault
		}
		return ctx.Err()
	})
	if !errors.Is(err, fault) || s.Units >= acts.Load() {
		t.Errorf("got %v after %d of %d acts, want %v", err, s.Units, acts.Load(), fault)
	}
}
