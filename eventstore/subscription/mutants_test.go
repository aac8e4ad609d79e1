package subscription

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is a rule of a member, or of what a queue's callers have in common, that is broken in its source, and the test that must notice.
type mutant struct {
	what, file, from, to, test string
}

// mutants lists them. What the database holds to is broken by TestTheTestsNoticeABrokenProtocol.
func mutants() []mutant {
	return []mutant{
		{"done before the handler returns", "lane.go", "err = m.handOut(d)", "go func() { _ = m.handOut(d) }()", "TestAFailedMessageHoldsUpItsStreamAloneAndComesFirstThen"},
		{"two of a stream in hand", "lane.go", "if st.busy || st.place", "if st.place", "TestAStreamInHandHoldsUpNoOther"},
		{"the position passes what is in hand", "stream.go", "if !e.done() && e.of.aside == nil {", "if false {", "TestWhatIsDoneAboveThePositionDoesNotComeAgain"},
		{"what was done above the position comes again", "reader.go", "if _, acked := s.acked[e.Position]; acked {", "if false {", "TestWhatIsDoneAboveThePositionDoesNotComeAgain"},
		{"a held stream is not recorded", "flush.go", "case st.aside != nil:", "case false:", "TestAHeldStreamIsHandedOver"},
		{"thousands of streams are recorded at once", "flush.go", "sum+rows[next] <= flushRows", "sum >= 0", "TestAProviderThatIsDownLosesNothing"},
		{"a batch is for slots that came later", "reader.go", "if s != nil && !s.leaving && s.seen >= from && e.Position > s.seen {", "if s != nil && !s.leaving && e.Position > s.seen {", "TestABatchReadBeforeASlotCameIsNotForIt"},
		{"whoever lost a slot is not told", "rebalance.go", "if d.slot.lost {", "if false {", "TestAResetWhileLeasedBeginsAnew"},
		{"what was parked outlives its lease", "rebalance.go", "_, m.parked = divide(m.parked, func(c parkedChange) bool { return c.Slot == s.Slot })", "", "TestWhatWasParkedBeforeAResetIsNotParkedAfterIt"},
		{"a reset slot is taken beside its old handlers", "rebalance.go", "busy = append(busy, int16(d.slot.Slot))", "if d.slot.lost {\n\t\t\tbusy = append(busy, int16(d.slot.Slot))\n\t\t}", "TestAResetWhileLeasedBeginsAnew"},
		{"the order of retries is not kept", "rebalance.go", "st.redo = append(st.redo, redo{", "st.redo = append([]redo{}, redo{", "TestRetriedMessagesComeInOrderAndNeverBesideTheirStream"},
		{"a retry goes out unread", "lane.go", "case len(st.redo) > 0 && st.redo[0].event == nil:", "case false:", "TestAMessageRetriedWhileItsStreamWaitsComesFirst"},
		{"replays are handed out", "lane.go", "if !d.replay || m.options.Replays {", "if true {", "TestAResetGroupDoesNothingTwiceUnlessAskedTo"},
		{"a stop does not wait for what is in hand", "member.go", "if m.emptied(m.options.Drain) {", "if m.emptied(0) {", "TestStoppingTellsHandlersAndWaitsForThem"},
		{"a slot is given back with what is in hand", "rebalance.go", "s != nil && s.leaving && s.idle() && !s.dirty {", "s != nil && s.leaving {", "TestASlotIsGivenBackWhenNothingOfItIsInHand"},
		{"an offer outlives its slot", "lane.go", "d.member.recallAll()", "", "TestAnOfferThatNobodyTookIsTakenBackWithItsSlot"},
		{"the lease's end is not looked at", "member.go", "return now.Before(until)", "return !until.IsZero()", "TestNothingIsHandedOutBeyondTheLease"},
		{"each call is a round of its own", "rounds.go", "(n == 0 || size+r.size(at.waiting[n]) <= roundSize)", "n == 0", "TestWhoAsksAtTheSameTimeGoesTogether"},
		{"nothing is given back when the caller hangs up", "queue_lease.go", "err := l.giveBack(ctx, key.name, back)", "err := error(nil)", "TestWhatWasLeasedForWhoHungUpIsAnothersAtOnce"},
		{"answers of one lease are not compared", "queue_answer.go", "counted[a.Lease] && outcomes[a.Lease] == a.Outcome", "counted[a.Lease]", "TestAnswersOfOneLeaseThatGoTogetherAreTheSameOrDoNotCount"},
	}
}

// TestTheTestsNoticeABrokenMember builds the tests with one rule broken at a time, and runs the one that must fail. That the
// rules are still there to be broken is held in every run.
func TestTheTestsNoticeABrokenMember(t *testing.T) {
	t.Parallel()
	for _, m := range mutants() {
		source, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(source, []byte(m.from)); n != 1 {
			t.Errorf("%s: %s holds %q %d times, want once", m.what, m.file, m.from, n)
			continue
		}
		if !*whole {
			continue
		}
		t.Run(m.what, func(t *testing.T) {
			test := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=5m", "-overlay", m.overlay(t, source), "-run", "^"+m.test+"$", ".")
			said, err := test.CombinedOutput()
			if err == nil {
				t.Errorf("%s did not notice", m.test)
			} else if !strings.Contains(string(said), "--- FAIL: "+m.test) && !strings.Contains(string(said), "panic: ") {
				t.Errorf("%s did not run: %s", m.test, said)
			}
		})
	}
}

// overlay writes the broken source, and returns what has go build it in place of the other.
func (m mutant) overlay(t *testing.T, source []byte) string {
	t.Helper()
	at, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), m.file)
	laid := filepath.Join(t.TempDir(), "overlay.json")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {at: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{broken: bytes.Replace(source, []byte(m.from), []byte(m.to), 1), laid: content} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return laid
}
