package events

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestCatalogIsAVocabulary(t *testing.T) {
	vocabulary(t, Catalog()...)
}

func TestVocabularyNamesEveryFaultAtOnce(t *testing.T) {
	type plain struct{}
	type noSubject struct {
		Name string `json:"name" pii:"seal"`
	}
	type badTag struct {
		Name string `json:"name" pii:"seald"`
	}
	type twice struct{}
	_, err := NewVocabulary(
		Define[noSubject]("a.no_subject"),
		Define[badTag]("a.bad_tag"),
		Define[plain]("Plain"),
		Define[int]("a.number"),
		Define[twice]("a.twice"), Define[twice]("a.twice_again"), Define[plain]("a.twice"),
	)
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"no `pii:\"subject\"`", `unknown tag pii:"seald"`, `"Plain"`, "not a struct", "declared twice", `"a.twice" is declared twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

func TestEncodeKeepsPersonalDataOutOfThePlainPart(t *testing.T) {
	typ := User[0]
	enc, err := typ.Encode(UserRegistered{UserID: uuid.New(), Email: "ann@example.com", Name: "Ann", PasswordHash: "hash"})
	if err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"ann@example.com", "Ann", "hash"} {
		if strings.Contains(string(enc.Data), personal) {
			t.Errorf("%q is in the plain part %s", personal, enc.Data)
		}
	}
	if strings.Contains(string(enc.Sealed), `hash`) || !strings.Contains(string(enc.Secret), `hash`) {
		t.Errorf("the secret part is not apart: sealed %s, secret %s", enc.Sealed, enc.Secret)
	}
}

func TestSealedFieldsNeedTheirSubject(t *testing.T) {
	if _, err := User[0].Encode(UserRegistered{Email: "ann@example.com"}); err == nil {
		t.Error("an event with sealed fields and no subject was encoded")
	}
}
