package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/internal/fault"
)

var commonList = flag.String("common", "", "make common.txt anew of this file, which has a password per line")

// TestMakeCommon is how the list is made; see doc.go.
func TestMakeCommon(t *testing.T) {
	if *commonList == "" {
		t.Skip("it writes common.txt; give -common")
	}
	text, err := os.ReadFile(*commonList)
	if err != nil {
		t.Fatal(err)
	}
	var hashes [][]byte
	for password := range strings.Lines(string(text)) {
		sum := sha256.Sum256([]byte(fold(strings.TrimSpace(password))))
		hashes = append(hashes, sum[:commonSize])
	}
	slices.SortFunc(hashes, bytes.Compare)
	hashes = slices.CompactFunc(hashes, bytes.Equal)
	encoded := base64.StdEncoding.EncodeToString(bytes.Join(hashes, nil))
	var out strings.Builder
	for line := range slices.Chunk([]byte(encoded), 120) {
		out.Write(append(line, '\n'))
	}
	if err := os.WriteFile("common.txt", []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheListOfCommonPasswordsIsLongAndSorted(t *testing.T) {
	t.Parallel()
	all := commonHashes()
	if n := len(all) / commonSize; n < 10_000 {
		t.Errorf("it has %d entries, want 10,000 at least", n)
	}
	for i := commonSize; i < len(all); i += commonSize {
		if bytes.Compare(all[i-commonSize:i], all[i:i+commonSize]) >= 0 {
			t.Fatalf("entry %d is out of order", i/commonSize)
		}
	}
}

func TestCommonPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, password := range []Secret{
		"password1234", "Password1234", "P@ssw0rd1234", "passwordpassword", "PASSWORDpassword", "qwertyuiop123", "1q2w3e4r5t6y",
		"123456789012", "987654321098", "abcdefghijkl", "aaaaaaaaaaaa", "111111111111", "iloveyou2024", "baseball!!!!",
		"qazwsxedcrfv", "trustno1trustno1", "footballfootball", "superman1234", "monkeymonkey",
	} {
		wantWeak(t, "common", CheckPassword(password), password)
	}
}

func TestOwnWordsAreRefusedAsPasswords(t *testing.T) {
	t.Parallel()
	const email, name = "zebulon.quarter@woods.example", "Zebulon Quarter"
	for _, password := range []Secret{
		"zebulonzebulon1", "Zebulon.Quarter", "quarterzebulon99", "zebulon.quarter@woods.example", "atlasQuarter2024", "woodsZebulon!",
	} {
		wantWeak(t, "own_words", CheckPassword(password, email, name), password)
	}
	if err := CheckPassword("a quarter of a hundred acres", email, name); err != nil {
		t.Errorf("a sentence with the name in it: %v", err)
	}
}

func TestGoodPasswordsAreAccepted(t *testing.T) {
	t.Parallel()
	for _, password := range []Secret{
		"correct horse battery staple", "zK4!vq9Lm2#x", "das Pferd frißt keinen Gurkensalat", "gurke-tisch-lampe", "пароль из слов и дел",
		"8f14e45fceea167a", "John 3:16 was a verse", "3.1415926535897", "ääääääääääää",
	} {
		if err := CheckPassword(password, "ann@example.com", "Ann"); err != nil {
			t.Errorf("%q: %v", password.Reveal(), err)
		}
	}
}

func wantWeak(t *testing.T, code string, err error, password Secret) {
	t.Helper()
	o, _, is := fault.Of(err)
	if !errors.Is(err, ErrWeakPassword) || !is || len(o.Fields()) != 1 || o.Fields()[0].Code != code {
		t.Errorf("%q: got %v, want %s", password.Reveal(), err, code)
	}
}
