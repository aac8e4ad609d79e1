package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestNothingPrintsASecret formats everything that holds one in every way a program prints.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	seed := GenerateSeed()
	keys := newKeys(t, seed)
	refresh := newRefresh(t)
	tokens, _ := newTokens(t, keys)
	revocations, _ := newRevocations()
	rawSeed, err := base64.RawURLEncoding.DecodeString(seed.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		holder any
		secret []byte
	}{
		{ann, []byte(ann)},
		{seed, []byte(seed)},
		{struct{ Password Secret }{ann}, []byte(ann)},
		{map[string]any{"password": ann}, []byte(ann)},
		{[]Secret{ann}, []byte(ann)},
		{keys, rawSeed},
		{*keys, rawSeed},
		{tokens, rawSeed},
		{NewAuthenticator(tokens, revocations, &told{}), rawSeed},
		{refresh, refresh.key()},
		{*refresh, refresh.key()},
		{NewRefreshStore(refresh, nil), refresh.key()},
		{struct {
			keys    Keys
			refresh Refresh
		}{*keys, *refresh}, rawSeed},
		{struct{ refresh Refresh }{*refresh}, refresh.key()},
	} {
		for how, printed := range print(t, c.holder) {
			for _, shape := range shapes(c.secret) {
				if strings.Contains(printed, shape) {
					t.Errorf("%T shows its secret through %s: %s", c.holder, how, printed)
				}
			}
		}
	}
}

// print returns what each way of printing makes of v.
func print(t *testing.T, v any) map[string]string {
	t.Helper()
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, v)
	}
	if text, err := json.Marshal(v); err == nil {
		printed["JSON"] = string(text)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
	printed["slog"] = log.String()
	return printed
}

// shapes are the ways in which a secret's bytes can appear in text.
func shapes(secret []byte) []string {
	list := strings.Trim(fmt.Sprint(secret), "[]")
	return []string{
		string(secret), hex.EncodeToString(secret), list, strings.ReplaceAll(list, " ", ","),
		base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
	}
}

func TestSecretIsReadFromJSONAndWrittenRedacted(t *testing.T) {
	t.Parallel()
	var body struct{ Password Secret }
	if err := json.Unmarshal([]byte(`{"password":"correct horse battery"}`), &body); err != nil {
		t.Fatal(err)
	}
	if body.Password.Reveal() != string(ann) {
		t.Errorf("read %q", body.Password.Reveal())
	}
	text, err := json.Marshal(body)
	if want := `{"Password":"[redacted]"}`; string(text) != want || err != nil {
		t.Errorf("wrote %s, %v; want %s", text, err, want)
	}
}
