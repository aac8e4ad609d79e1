package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

// accepted and refused are well-formed JSON, of which the log takes some.
var (
	accepted = map[string]string{
		"plain":                       `{"a":[1,-2.5e3,true,null,"x"]}`,
		"escaped backslash before u":  `{"a":"\\u0000"}`,
		"two escaped backslashes":     `{"a":"\\\\u0000"}`,
		"escaped backslash and quote": `{"a":"\\\"u0000"}`,
		"escaped surrogate backslash": `"\\ud800"`,
		"surrogate pair":              `"\ud834\udd1e"`,
		"lowest pair":                 `"\uD800\uDC00"`,
		"highest pair":                `"\udbff\udfff"`,
		"before the surrogates":       `"\ud7ff"`,
		"after the surrogates":        `"\ue000"`,
		"last of the first plane":     `"\uffff"`,
		"smallest but NUL":            `"\u0001"`,
		"character of four bytes":     `"𝄞"`,
		"looks like numbers":          `"1e999999 -1e-999999"`,
		"looks like a key":            `{"1e9999":0}`,
		"400 digits":                  strings.Repeat("9", 400),
		"exponent of 400":             `1e400`,
		"exponent of -400":            `1e-400`,
		"exponent with zeros":         `1e+000000000000000000000000000000400`,
		"fraction and exponent":       strings.Repeat("9", 390) + `.5e400`,
		"negative zero":               `-0`,
		"as deep as Go decodes":       strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
		"wide":                        "[" + strings.Repeat("[],", 5000) + "{}]",
		"brackets in a string":        `"` + strings.Repeat("[{", 5000) + `"`,
	}
	refused = map[string]string{
		"NUL":                       `{"a":"\u0000"}`,
		"NUL in a key":              `{"a\u0000b":1}`,
		"NUL after a backslash":     `"\\\u0000"`,
		"NUL after a quote":         `"\"\u0000"`,
		"NUL after a string":        `["x","\u0000"]`,
		"high surrogate alone":      `"\ud834"`,
		"high surrogate and text":   `"\ud834dd1e"`,
		"high surrogate and escape": `"\ud834\n"`,
		"high surrogate twice":      `"\ud834\ud834\udd1e"`,
		"high surrogate in a key":   `{"\ud834":1}`,
		"low surrogate alone":       `"\udd1e"`,
		"surrogates swapped":        `"\udd1e\ud834"`,
		"pair and half a one":       `"\ud834\udd1e\udd1e"`,
		"half, escaped backslash":   `"\ud834\\udd1e"`,
		"not UTF-8":                 "\"\xff\"",
		"surrogate in UTF-8":        "\"\xed\xa0\x80\"",
		"overlong NUL":              "\"\xc0\x80\"",
		"401 digits":                strings.Repeat("9", 401),
		"exponent of 401":           `1e401`,
		"exponent of -401":          `[0.1E-401]`,
		"exponent beyond an int":    `1e99999999999999999999`,
		"number as a member":        `{"a":-1e99999}`,
	}
)

func TestValidateRefusesWhatTheLogCannotHoldAndNothingElse(t *testing.T) {
	for name, data := range accepted {
		if err := validate([]byte(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range refused {
		if err := validate([]byte(data)); !errors.Is(err, ErrData) {
			t.Errorf("%s: got %v, want ErrData", name, err)
		}
	}
}

// FuzzValidate holds that PostgreSQL takes and gives back whatever validate accepts, of what is JSON.
func FuzzValidate(f *testing.F) {
	for _, list := range []map[string]string{accepted, refused} {
		for _, data := range list {
			f.Add([]byte(data))
		}
	}
	for _, data := range []string{`"\u`, `"\u12`, `"\ud834\u`, `"\ud834\`, `"`, `\`, `-`, `1e`, `1e+`, `[1e5`, `"\uD834\uDD1`, `{"":""}`, ` 1 `, `[`, `]`} {
		f.Add([]byte(data))
	}
	pool := pgtest.NewPool(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 || validate(data) != nil || !json.Valid(data) {
			return
		}
		var back []byte
		if err := pool.QueryRow(context.Background(), `SELECT $1::jsonb`, string(data)).Scan(&back); err != nil {
			t.Fatalf("PostgreSQL refuses %.200q: %v", data, err)
		}
		if !json.Valid(back) {
			t.Errorf("PostgreSQL gives back %.200q for %.200q", back, data)
		}
	})
}

// TestAnEventIsLimitedAsAWhole holds that the limit counts all parts of an event together.
func TestAnEventIsLimitedAsAWhole(t *testing.T) {
	quoted := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`) }
	for _, c := range []struct {
		data, sealed, secret int
		fits                 bool
	}{
		{maxEventBytes, 0, 0, true},
		{maxEventBytes + 1, 0, 0, false},
		{2, maxEventBytes - 4, 2, true},
		{2, maxEventBytes - 4, 3, false},
		{maxEventBytes / 2, maxEventBytes / 2, 2, false},
	} {
		enc := events.Encoded{Data: quoted(c.data)}
		if c.sealed > 0 {
			enc.Sealed, enc.Secret = quoted(c.sealed), quoted(max(c.secret, 2))
		}
		if err := validateEvent(enc); (err == nil) != c.fits || !c.fits && !errors.Is(err, ErrData) {
			t.Errorf("%d, %d and %d bytes: got %v, fits is %v", c.data, c.sealed, c.secret, err, c.fits)
		}
	}
}
