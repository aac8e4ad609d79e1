package measure

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// memory is how much the process takes from the system after each of Atlas's samples.
type memory struct{ readings []float64 } // MiB

func (m *memory) look() { m.readings = append(m.readings, resident()) }

// figure compares the last third of the readings with the first: 1 is flat.
func (m *memory) figure(name string, clients int) Figure {
	third := (len(m.readings) + 2) / 3
	first := median(append([]float64{}, m.readings[:third]...))
	last := median(append([]float64{}, m.readings[len(m.readings)-third:]...))
	return Figure{Case: name + ".memory", Clients: clients, Unit: "MiB", Value: round(last), Limit: round(first), Ratio: round(last / first)}
}

// watchPeak notes the most memory that the process has from now on until the function it returns is called. What went before
// is given back first.
func (r *run) watchPeak() (done func()) {
	debug.FreeOSMemory()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				r.peak = max(r.peak, resident())
			case <-end:
				tick.Stop()
				r.peak = max(r.peak, resident())
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// resident returns the process's resident memory in MiB; where the system does not tell, what Go has from it.
func resident() float64 {
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			if pages, err := strconv.ParseFloat(string(fields[1]), 64); err == nil {
				return pages * float64(os.Getpagesize()) / (1 << 20)
			}
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.Sys-stats.HeapReleased) / (1 << 20)
}

// round keeps three digits after the point, which is more than any of the figures is good for.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func milliseconds(d time.Duration) float64 { return round(d.Seconds() * 1000) }
