package commands

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atlas-platform/atlas/events"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func announced(id string) events.SigningEvent {
	return events.SigningKeyAnnounced{KeyID: id, PublicKey: id, AnnouncedAt: noon}
}

func activated(id string) events.SigningEvent {
	return events.SigningKeyActivated{KeyID: id, ActivatedAt: noon}
}

func scheduled(id string, after time.Duration) events.SigningEvent {
	return events.SigningKeyScheduled{KeyID: id, SignsFrom: noon.Add(after)}
}

func TestTheFirstKeySignsAtOnce(t *testing.T) {
	specify(t, Signing).given().when(AnnounceKey{ID: "a", Public: "a", At: noon}).then(announced("a"))
	specify(t, Signing).given(announced("a")).when(ScheduleKey{ID: "a", Announced: KeyAnnounced, At: noon}).then(activated("a"))
}

func TestALaterKeySignsWhenItWasAnnouncedForLongEnough(t *testing.T) {
	given := []events.SigningEvent{announced("a"), activated("a"), announced("b")}
	specify(t, Signing).given(given...).when(AdvanceKeys{At: noon.Add(time.Hour)}).then() // nobody asked for it
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "b", Announced: KeyAnnounced, At: noon.Add(time.Minute)}).then(scheduled("b", KeyAnnounced))
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "b", At: noon}).then(scheduled("b", KeyAnnouncedAtLeast))
	given = append(given, scheduled("b", KeyAnnounced))
	specify(t, Signing).given(given...).when(AdvanceKeys{At: noon.Add(KeyAnnounced - time.Second)}).then()
	at := noon.Add(KeyAnnounced)
	specify(t, Signing).given(given...).when(AdvanceKeys{At: at}).then(
		events.SigningKeyRetired{KeyID: "a", RetiredAt: at, VerifiesUntil: at.Add(KeyVerifies)},
		events.SigningKeyActivated{KeyID: "b", ActivatedAt: at},
	)
}

func TestAKeyCanBeScheduledSoonerAndNotLater(t *testing.T) {
	given := []events.SigningEvent{announced("a"), activated("a"), announced("b"), scheduled("b", time.Hour)}
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "b", Announced: KeyAnnounced}).then(scheduled("b", KeyAnnounced))
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "b", Announced: 2 * time.Hour}).then()
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "a", Announced: KeyAnnounced}).then()
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "c", Announced: KeyAnnounced}).thenFails(ErrNotFound)
}

func TestARetiringKeyVerifiesForItsTimeAndNeverSignsAgain(t *testing.T) {
	at := noon.Add(KeyAnnounced)
	given := []events.SigningEvent{
		announced("a"), activated("a"), announced("b"), events.SigningKeyRetired{KeyID: "a", RetiredAt: at, VerifiesUntil: at.Add(KeyVerifies)}, activated("b"),
	}
	specify(t, Signing).given(given...).when(ScheduleKey{ID: "a", Announced: KeyAnnounced, At: at}).thenFails(ErrKeyUsed)
	specify(t, Signing).given(given...).when(AnnounceKey{ID: "a", At: at}).then()
	specify(t, Signing).given(given...).when(AdvanceKeys{At: at.Add(KeyVerifies - time.Second)}).then()
	gone := events.SigningKeyRemoved{KeyID: "a", RemovedAt: at.Add(KeyVerifies)}
	specify(t, Signing).given(given...).when(AdvanceKeys{At: at.Add(KeyVerifies)}).then(gone)
	specify(t, Signing).given(append(given, gone)...).when(ScheduleKey{ID: "a", At: at}).thenFails(ErrKeyUsed)
	specify(t, Signing).given(append(given, gone)...).when(AnnounceKey{ID: "a", At: at}).then()
}

func TestAKeyThatDoesNotSignIsRetiredAtOnce(t *testing.T) {
	given := []events.SigningEvent{announced("a"), activated("a"), announced("b")}
	specify(t, Signing).given(given...).when(RetireKey{ID: "a", At: noon}).thenFails(ErrKeySigns)
	specify(t, Signing).given(given...).when(RetireKey{ID: "b", At: noon}).then(events.SigningKeyRemoved{KeyID: "b", RemovedAt: noon})
	specify(t, Signing).given(given...).when(RetireKey{ID: "c", At: noon}).thenFails(ErrNotFound)
	given = append(given, events.SigningKeyRemoved{KeyID: "b", RemovedAt: noon})
	specify(t, Signing).given(given...).when(RetireKey{ID: "b", At: noon}).then()
}

func TestKeysInUseAreBounded(t *testing.T) {
	var given []events.SigningEvent
	for i := range maxSigningKeys {
		given = append(given, announced(string(rune('a'+i))))
	}
	another := AnnounceKey{ID: "z", Public: "z", At: noon}
	specify(t, Signing).given(given...).when(another).thenFails(ErrTooManyKeys)
	given = append(given, events.SigningKeyRemoved{KeyID: "a", RemovedAt: noon})
	specify(t, Signing).given(given...).when(another).then(announced("z"))
}

func TestSigningEveryoneOutBeginsAnEpoch(t *testing.T) {
	specify(t, Signing).given().when(SignOutEveryone{}).then(events.EveryoneSignedOut{Epoch: 1})
	specify(t, Signing).given(events.EveryoneSignedOut{Epoch: 1}).when(SignOutEveryone{}).then(events.EveryoneSignedOut{Epoch: 2})
}

// TestWhateverIsAskedOneKeySigns gives random commands at random times and holds what every node relies on: from the
// first activation on exactly one key signs, a key signs once in its life, was announced for six seconds before that, and
// verifies for its time afterwards unless somebody retires it.
func TestWhateverIsAskedOneKeySigns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s signing
		now, ever := noon, map[string]int{}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
			command := rapid.SampledFrom([]SigningCommand{
				AnnounceKey{ID: id, At: now}, ScheduleKey{ID: id, Announced: KeyAnnounced, At: now}, ScheduleKey{ID: id, At: now},
				AdvanceKeys{At: now}, RetireKey{ID: id, At: now},
			}).Draw(t, "command")
			before := s
			decided, _ := decideSigning(s, command)
			for _, e := range decided {
				s = evolveSigning(s, e)
			}
			checkSigning(t, before, s, command, now, ever)
		}
	})
}

func checkSigning(t *rapid.T, before, after signing, command SigningCommand, now time.Time, ever map[string]int) {
	signing := 0
	for _, k := range after.keys {
		was := before.find(k.ID)
		if k.State == Active {
			signing++
			if was.State == Announced {
				ever[k.ID]++
				if before.active() != nil && now.Sub(was.Since) < KeyAnnouncedAtLeast {
					t.Errorf("%T: %s signs %s after it was announced", command, k.ID, now.Sub(was.Since))
				}
			}
		}
		_, asked := command.(RetireKey)
		if k.State == Removed && was.State == Retiring && !asked && now.Sub(was.Since) < KeyVerifies {
			t.Errorf("%T: %s is removed %s after it signed", command, k.ID, now.Sub(was.Since))
		}
		if ever[k.ID] > 1 {
			t.Errorf("%T: %s signs for the second time", command, k.ID)
		}
	}
	if signing > 1 || signing == 0 && before.active() != nil {
		t.Errorf("%T: %d keys sign", command, signing)
	}
}
