package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is an event as it lies in the log, its sealed parts in the clear.
type sample struct {
	Data   json.RawMessage `json:"data"`
	Sealed json.RawMessage `json:"sealed,omitempty"`
	Secret json.RawMessage `json:"secret,omitempty"`
}

func vocabulary(t *testing.T, types ...Type) *Vocabulary {
	t.Helper()
	v, err := NewVocabulary(types...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryTypeAndVersionHasASample(t *testing.T) {
	for _, typ := range Catalog() {
		for version := 1; version <= typ.Version; version++ {
			if _, err := os.Stat(samplePath(typ.Name, version)); err != nil {
				t.Errorf("%s version %d has no sample: %v", typ.Name, version, err)
			}
		}
	}
}

func TestEverySampleEverStoredDecodes(t *testing.T) {
	v := vocabulary(t, Catalog()...)
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			name, version := sampleName(t, path)
			typ, err := v.Named(name)
			if err != nil {
				t.Fatal(err)
			}
			s := readSample(t, path)
			event, err := typ.Decode(version, Encoded{Data: s.Data, Sealed: s.Sealed, Secret: s.Secret})
			if err != nil {
				t.Fatal(err)
			}
			if version == typ.Version {
				requireSameParts(t, typ, event, s)
			}
		})
	}
}

// requireSameParts holds that today's shape stores exactly what the sample holds: a renamed or dropped field fails.
func requireSameParts(t *testing.T, typ Type, event Event, want sample) {
	t.Helper()
	enc, err := typ.Encode(event)
	if err != nil {
		t.Fatal(err)
	}
	got := sample{Data: enc.Data, Sealed: enc.Sealed, Secret: enc.Secret}
	if diff := cmp.Diff(generic(t, want), generic(t, got)); diff != "" {
		t.Errorf("encoding the decoded sample (-sample +encoded):\n%s", diff)
	}
}

func generic(t *testing.T, s sample) (out map[string]any) {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func samplePath(name string, version int) string {
	return filepath.Join("testdata", fmt.Sprintf("%s.v%d.json", name, version))
}

func sampleName(t *testing.T, path string) (name string, version int) {
	t.Helper()
	base := strings.TrimSuffix(filepath.Base(path), ".json")
	at := strings.LastIndex(base, ".v")
	if at < 0 {
		t.Fatalf("%s is not named name.vN.json", path)
	}
	if _, err := fmt.Sscanf(base[at:], ".v%d", &version); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return base[:at], version
}

func readSample(t *testing.T, path string) (s sample) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUpcastsLiftOldShapesToTodays(t *testing.T) {
	type note struct {
		Text   string `json:"text"`
		Format string `json:"format"`
		Words  int    `json:"words"`
	}
	addFormat := func(v1 json.RawMessage) (json.RawMessage, error) {
		return merge([]json.RawMessage{v1, json.RawMessage(`{"format":"plain"}`)})
	}
	countWords := func(v2 json.RawMessage) (json.RawMessage, error) {
		var n note
		if err := json.Unmarshal(v2, &n); err != nil {
			return nil, err
		}
		n.Words = len(strings.Fields(n.Text))
		return json.Marshal(n)
	}
	typ := Define[note]("note.written", addFormat, countWords)
	for version, stored := range map[int]string{1: `{"text":"a b"}`, 2: `{"text":"a b","format":"plain"}`, 3: `{"text":"a b","format":"plain","words":2}`} {
		got, err := typ.Decode(version, Encoded{Data: json.RawMessage(stored)})
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if diff := cmp.Diff(note{Text: "a b", Format: "plain", Words: 2}, got); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version, diff)
		}
	}
	if _, err := typ.Decode(4, Encoded{Data: json.RawMessage(`{}`)}); !errors.Is(err, ErrNewer) {
		t.Errorf("version 4: got %v, want ErrNewer", err)
	}
}
