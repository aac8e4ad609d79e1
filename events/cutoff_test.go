package events

import (
	"slices"
	"testing"
)

func TestWhatRevokesIsFoundInTheVocabulary(t *testing.T) {
	t.Parallel()
	names := vocabulary(t, Catalog()...).Revoking()
	for _, want := range []string{"session.ended", "user.disabled"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s revokes and is not among %v", want, names)
		}
	}
	for _, name := range []string{"session.started", "document.created"} {
		if slices.Contains(names, name) {
			t.Errorf("%s revokes nothing and is among %v", name, names)
		}
	}
}

// TestATypeAloneCutsOffEverything: where an event cannot be read, its type has to do.
func TestATypeAloneCutsOffEverything(t *testing.T) {
	t.Parallel()
	v := vocabulary(t, Catalog()...)
	for _, name := range v.Revoking() {
		typ, err := v.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		cut, revokes := typ.CutOff()
		if !revokes || cut.Of == 0 || cut.Epoch != Ended {
			t.Errorf("%s cuts off %+v, %v; want a holder and every epoch", name, cut, revokes)
		}
	}
}
