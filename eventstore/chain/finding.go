package chain

import (
	"fmt"
	"strings"
)

// Kind is what is wrong with the log or its chain.
type Kind string

// What a verification can find.
const (
	EventChanged  Kind = "event changed"
	EventRemoved  Kind = "event removed"
	EventInserted Kind = "event inserted"
	BlockChanged  Kind = "block changed"  // it does not give its own head
	BlockMissing  Kind = "block missing"  // its number is left out
	LinkBroken    Kind = "link broken"    // a block does not follow the one before it
	ChainUnknown  Kind = "chain unknown"  // a block's chain has no beginning
	HeadDiffers   Kind = "head differs"   // a block is not what it was when its head was exported
	HeadGone      Kind = "head gone"      // a block whose head was exported is not there
	HeadUntrusted Kind = "head untrusted" // an exported head's signature is not good
)

// Finding is one thing that is wrong. What does not apply is zero.
type Finding struct {
	Kind     Kind
	Block    int64
	Position int64
	Stream   string
	Version  int64
	Detail   string
}

// String says what is wrong in one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind) + ":")
	if f.Position != 0 {
		fmt.Fprintf(&b, " position %d, %q version %d,", f.Position, f.Stream, f.Version)
	}
	fmt.Fprintf(&b, " block %d: %s", f.Block, f.Detail)
	return b.String()
}

// keptFindings bounds the findings that a report lists. One change can lead to many.
const keptFindings = 100

// Report is what a verification has come to.
type Report struct {
	Chains     []ChainReport
	Blocks     int64
	Events     int64     // that were held against their digests
	Sealed     int64     // the last position that a block vouches for
	Unsealed   Unsealed  // what the log holds beyond
	Unattached []Missing // parts of the log that are not there to be read
	Heads      int64     // exported heads that were held against the chain
	Findings   []Finding // the first ones, in the order of the log; those about exported heads last
	Found      int64     // how many there are
}

// ChainReport is one chain of the log.
type ChainReport struct {
	ID     string
	Reason string
	Since  string // when it began
	Blocks int64  // that were verified
}

// Unsealed is what lies beyond the last block: nothing vouches for it yet.
type Unsealed struct {
	Events, First, Last int64
}

// Missing is a range of positions that is in no attached part.
type Missing struct {
	After, Last int64 // Last is -1 where no part above is attached either
	Events      int64 // that blocks vouch for there
}

// String says which range it is.
func (m Missing) String() string {
	if m.Last < 0 {
		return fmt.Sprintf("positions from %d", m.After+1)
	}
	return fmt.Sprintf("positions %d to %d", m.After+1, m.Last)
}

func (r *Report) add(f Finding) {
	r.Found++
	if len(r.Findings) < keptFindings {
		r.Findings = append(r.Findings, f)
	}
}
