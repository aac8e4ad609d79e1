package sealing_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/eventstore/sealing"
)

func TestAGeneratedMasterKeyParses(t *testing.T) {
	a, b := sealing.GenerateMaster(), sealing.GenerateMaster()
	if a == b {
		t.Error("two generated keys are equal")
	}
	for _, text := range []string{a, a + "," + b, " " + a + " , " + b + "\n"} {
		if _, err := sealing.ParseMaster(text); err != nil {
			t.Error(err)
		}
	}
}

func TestMasterKeysThatAreNoneAreRefusedWithoutRepeatingThem(t *testing.T) {
	good := sealing.GenerateMaster()
	encode := base64.RawURLEncoding.EncodeToString
	random := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	for name, text := range map[string]string{
		"empty":          "",
		"spaces":         "   ",
		"short":          encode(random[:31]),
		"long":           encode(random[:33]),
		"padded":         good + "=",
		"garbage":        "correct horse battery staple!",
		"hexadecimal":    strings.Repeat("0f", 32),
		"zeros":          encode(make([]byte, 32)),
		"one byte":       encode([]byte(strings.Repeat("x", 32))),
		"second empty":   good + ",",
		"second short":   good + "," + encode(random[:31]),
		"second garbage": good + ",not a key at all",
		"separated by ;": good + ";" + good,
	} {
		t.Run(name, func(t *testing.T) {
			m, err := sealing.ParseMaster(text)
			if err == nil || m != nil {
				t.Fatalf("got %v, %v; want an error and no key", m, err)
			}
			for _, part := range append(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' }), text) {
				if part = strings.TrimSpace(part); part != "" && strings.Contains(err.Error(), part) {
					t.Errorf("the error repeats what was given: %v", err)
				}
			}
			if strings.HasPrefix(name, "second") != strings.Contains(err.Error(), "key 2") {
				t.Errorf("the error does not say which key it is: %v", err)
			}
		})
	}
}
