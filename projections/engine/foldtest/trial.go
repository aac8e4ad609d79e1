package foldtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/projections/engine"
)

// How many ways a log is folded.
const (
	cutAllWays = 7  // events at most, for every way to cut them: 64 of them
	randomCuts = 64 // where there are more
	moments    = 16 // at which a person may have been forgotten
)

// seedVariable names the environment variable that repeats random batches.
const seedVariable = "FOLDTEST_SEED"

// trial folds a log every way that the engine may.
type trial[R any] struct {
	view *engine.View[R]
	log  *log
	want map[string]R
}

func newTrial[R any](v *engine.View[R], l *log, want map[string]R) trial[R] {
	return trial[R]{view: v, log: l, want: want}
}

func (t trial[R]) run() error {
	whole := t.log.read(len(t.log.all))
	time.Sleep(time.Until(At(len(whole)))) // the first fold is of what has just happened
	if err := t.hold("", func() (map[string]R, error) { return t.view.FoldRows(nil, whole) }); err != nil {
		return err
	}
	for _, try := range []func([]*eventstore.Recorded) error{t.cut, t.alone, t.beside} {
		if err := try(whole); err != nil {
			return err
		}
	}
	return t.forget()
}

// hold folds, and holds what comes out against what is wanted. how says in which way the log was folded, where it was not
// simply at once.
func (t trial[R]) hold(how string, fold func() (map[string]R, error)) error {
	defer time.Sleep(pause) // only the clock moves on: nobody waits
	got, err := fold()
	if err == nil {
		err = t.log.changed()
	}
	if err != nil {
		return fmt.Errorf("%s%w", how, err)
	}
	diff, err := difference(t.want, got)
	if err == nil && diff != "" {
		err = fmt.Errorf("rows (-want +got):\n%s", diff)
	}
	if err != nil && how != "" {
		return fmt.Errorf("the rows are right when all is folded at once, and others when it is folded %s"+
			"a fold depends on more than the row and the event, or keeps something of either\n%w", how, err)
	}
	return err
}

// What lies between two folds of a batch, and of a log: no part of a time that a fold may read is the same after it.
// The clock of a test ends in 2262, so there are not years between all of them.
const (
	moment = time.Hour + time.Minute + time.Second + time.Millisecond + time.Microsecond
	pause  = (366+31+1)*24*time.Hour + moment
)

// cut folds the log in batches.
func (t trial[R]) cut(all []*eventstore.Recorded) error {
	if len(all) <= cutAllWays {
		for at := range 1 << (len(all) - 1) { // a bit says whether to cut after an event
			if err := t.inBatches(all, func(i int) bool { return at>>i&1 == 1 }, ""); err != nil {
				return err
			}
		}
		return nil
	}
	if err := t.inBatches(all, func(int) bool { return true }, ""); err != nil {
		return err
	}
	seed, err := seed()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range randomCuts {
		often := 1 + n%4
		if err := t.inBatches(all, func(int) bool { return random.IntN(often+1) == 0 }, fmt.Sprintf(" (%s=%d)", seedVariable, seed)); err != nil {
			return err
		}
	}
	return nil
}

func seed() (uint64, error) {
	if set := os.Getenv(seedVariable); set != "" {
		n, err := strconv.ParseUint(set, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", seedVariable, err)
		}
		return n, nil
	}
	return rand.Uint64(), nil
}

// inBatches folds the log cut where it says. Rows are stored after each batch, and each is folded twice from the same rows.
func (t trial[R]) inBatches(all []*eventstore.Recorded, cutAfter func(i int) bool, seed string) error {
	var batches [][]*eventstore.Recorded
	var sizes []int
	from := 0
	for i := range all {
		if i == len(all)-1 || cutAfter(i) {
			batches, sizes, from = append(batches, all[from:i+1]), append(sizes, i+1-from), i+1
		}
	}
	return t.hold(fmt.Sprintf("in batches of %v%s: ", sizes, seed), func() (rows map[string]R, err error) {
		for _, b := range batches {
			if _, err := t.onto(rows, b); err != nil {
				return nil, err
			}
			time.Sleep(moment)
			if rows, err = t.onto(rows, b); err != nil {
				return nil, err
			}
		}
		return rows, nil
	})
}

// onto folds a batch onto rows as they are stored.
func (t trial[R]) onto(rows map[string]R, batch []*eventstore.Recorded) (map[string]R, error) {
	fresh := make(map[string]R, len(rows))
	for name, row := range rows {
		stored, err := stored(row)
		if err != nil {
			return nil, err
		}
		fresh[name] = stored
	}
	return t.view.FoldRows(fresh, batch)
}

// alone folds each row by itself.
func (t trial[R]) alone(all []*eventstore.Recorded) error {
	return t.hold("row by row: ", func() (map[string]R, error) {
		rows := map[string]R{}
		for name := range t.want {
			only, err := t.view.FoldRows(nil, all, name)
			if err != nil {
				return nil, err
			}
			maps.Copy(rows, only)
		}
		return rows, nil
	})
}

// beside folds all rows at the same time.
func (t trial[R]) beside(all []*eventstore.Recorded) error {
	return t.hold("with its rows beside one another: ", func() (map[string]R, error) {
		var mu sync.Mutex
		var each sync.WaitGroup
		var failed error
		rows := map[string]R{}
		for name := range t.want {
			each.Go(func() {
				only, err := t.view.FoldRows(nil, all, name)
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(rows, only)
				if err != nil {
					failed = err
				}
			})
		}
		each.Wait()
		return rows, failed
	})
}

// forget folds the log with the keys of the forgotten gone at every moment, or at some where there are many.
func (t trial[R]) forget() error {
	last := -1
	for _, said := range t.log.forgotten {
		last = max(last, said)
	}
	step := 1 + last/moments
	for upto := 0; upto <= last; upto += step {
		how := fmt.Sprintf("with what is sealed gone from event %d on, as it is read once the person is forgotten: ", upto+1)
		err := t.hold(how, func() (map[string]R, error) { return t.view.FoldRows(nil, t.log.read(upto)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// stored returns a row as it comes back from its table. Numbers in columns of free form stay as they are written.
func stored[R any](row R) (back R, err error) {
	raw, err := json.Marshal(row)
	if err != nil {
		return back, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return back, decoder.Decode(&back)
}

// difference compares rows as they are stored.
func difference[R any](want, got map[string]R) (string, error) {
	w, err := columns(want)
	if err != nil {
		return "", err
	}
	g, err := columns(got)
	if err != nil {
		return "", err
	}
	return cmp.Diff(w, g), nil
}

func columns[R any](rows map[string]R) (map[string]any, error) {
	all := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		raw, err := json.Marshal(rows[name])
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", name, err)
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		var row any
		if err := decoder.Decode(&row); err != nil {
			return nil, fmt.Errorf("row %s: %w", name, err)
		}
		all[name] = row
	}
	return all, nil
}
