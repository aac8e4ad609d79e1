package httpapi

import (
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// ReadAfter lets a caller read its own writes. Embed it in the input of a GET.
type ReadAfter struct {
	MinPosition int64  `header:"Atlas-Min-Position" minimum:"0" doc:"Answer only from data at least as new as this position: the Atlas-Position of a write."`
	Prefer      Prefer `header:"Prefer"`
}

// DefaultWait is how long a read waits for its data unless Prefer says otherwise.
const DefaultWait = 2 * time.Second

// maxWait bounds what Prefer may ask for.
const maxWait = 30

// Wait returns how long the read may wait for its position.
func (a ReadAfter) Wait() time.Duration {
	if !a.Prefer.asked {
		return DefaultWait
	}
	return a.Prefer.wait
}

// Prefer holds the wait=n of a Prefer header (RFC 7240), at most 30 seconds. A preference is never an error: what is not
// understood is ignored.
type Prefer struct {
	wait  time.Duration
	asked bool
}

// UnmarshalText reads the first wait=n among the preferences.
func (p *Prefer) UnmarshalText(text []byte) error {
	for preference := range strings.SplitSeq(string(text), ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return nil
		}
		*p = Prefer{wait: time.Duration(min(n, maxWait)) * time.Second, asked: true}
		return nil
	}
	return nil
}

// Schema tells the docs what is understood.
func (Prefer) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        huma.TypeString,
		Description: "wait=n: wait up to n seconds (at most 30) for the data; 2 unless given.",
		Examples:    []any{"wait=5"},
	}
}
