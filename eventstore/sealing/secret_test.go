package sealing_test

import (
	"bytes"
	"testing"

	"github.com/atlas-platform/atlas/internal/logtest"
)

func TestAKeptSecretStaysUntilItIsDropped(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	kept := func(want string) {
		t.Helper()
		got, there, err := l.Node(t).Keys.Kept(t.Context(), "mine")
		if err != nil || there != (want != "") || !bytes.Equal(got, []byte(want)) {
			t.Fatalf("kept %q, %v, %v; want %q", got, there, err, want)
		}
	}
	kept("")
	for _, secret := range []string{"first", "second"} {
		if err := l.Keys.Keep(t.Context(), "mine", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		kept("first")
	}
	for range 2 {
		if err := l.Keys.Drop(t.Context(), "mine"); err != nil {
			t.Fatal(err)
		}
		kept("")
	}
}
