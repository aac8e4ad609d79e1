package eventstore

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestMetadataReadsAlikeInEveryFormOfJSON holds the fast way of reading metadata against encoding/json, over what
// PostgreSQL makes of metadata and over other forms of the same.
func TestMetadataReadsAlikeInEveryFormOfJSON(t *testing.T) {
	t.Parallel()
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		id := func(name string) uuid.UUID {
			if !rapid.Bool().Draw(t, name) {
				return uuid.Nil
			}
			return uuid.New()
		}
		ordinary := rapid.StringMatching(`[a-z0-9-]{0,12}`)
		text := rapid.OneOf(ordinary, ordinary, ordinary, rapid.SampledFrom([]string{`a"b`, `\\`, `": "`, `, "actor": "x"`, "é\u2028", "}", `"}`, "\t"}))
		want := storedMetadata{
			Actor: id("actor"), CorrelationID: id("correlation"), CausationID: id("causation"), CommandID: id("command"),
			ClientSubject: id("subject"), Traceparent: text.Draw(t, "traceparent"), RequestID: text.Draw(t, "request"), Client: text.Draw(t, "client"),
		}
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		form := string(raw)
		switch rapid.IntRange(0, 7).Draw(t, "form") {
		case 0:
			form = strings.Replace(form, `{`, `{"more": {"actor": "x"}, `, 1)
		case 1:
			form = strings.Replace(form, `{`, `{"later": null, `, 1)
		case 2: // as it was encoded
		default: // PostgreSQL's, where no value has such a sequence
			form = strings.NewReplacer(`":"`, `": "`, `","`, `", "`).Replace(form)
		}
		var by storedMetadata
		if json.Unmarshal([]byte(form), &by) != nil {
			return // such as a comma before the end
		}
		got, ok := plainMetadata([]byte(form))
		if !ok {
			return
		}
		plain++
		if diff := cmp.Diff(by, got); diff != "" {
			t.Fatalf("%s (-json +plain):\n%s", form, diff)
		}
	})
	if plain < 5 {
		t.Errorf("only %d were read the fast way", plain)
	}
}
