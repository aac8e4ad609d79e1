package feedtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/eventstore/wire"
)

// Message is a block of the stream.
type Message struct {
	ID      string // "" where the block has none
	Name    string // "" for an event of the log, "end" for why the feed ended
	Data    string // "" for a sign of life
	Retry   string
	Comment bool
}

// Reader reads one feed.
type Reader struct {
	Header http.Header
	LastID string // what to go on behind
	body   io.ReadCloser
	lines  *bufio.Reader
}

// Open opens a feed with an API key: at base + "/v1/events" + query, behind lastID unless that is "".
func Open(ctx context.Context, base, query, key, lastID string) (*Reader, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events"+query, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+key)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return nil, &Refused{answer.StatusCode, string(text)}
	}
	return &Reader{Header: answer.Header, LastID: lastID, body: answer.Body, lines: bufio.NewReader(answer.Body)}, nil
}

// Refused is the answer to a feed that was not opened.
type Refused struct {
	Status int
	Body   string
}

// Error implements error.
func (r *Refused) Error() string { return fmt.Sprintf("refused with %d: %s", r.Status, r.Body) }

// MustOpen is Open for tests, until the test ends.
func MustOpen(t testing.TB, base, query, key, lastID string) *Reader {
	t.Helper()
	r, err := Open(t.Context(), base, query, key, lastID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Close hangs up.
func (r *Reader) Close() { r.body.Close() }

// Next returns the next block, whatever is in it.
func (r *Reader) Next() (m Message, err error) {
	for seen := false; ; seen = true {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return Message{}, err // a block without its end is none
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" && seen {
			if m.ID != "" {
				r.LastID = m.ID
			}
			return m, nil
		}
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "":
			m.Comment = true
		case "id":
			m.ID = strings.TrimPrefix(value, " ")
		case "event":
			m.Name = strings.TrimPrefix(value, " ")
		case "data":
			m.Data += strings.TrimPrefix(value, " ")
		case "retry":
			m.Retry = strings.TrimPrefix(value, " ")
		default:
			return Message{}, fmt.Errorf("a field that is none: %q", line)
		}
	}
}

// NextEvent returns the next event of the log, and passes over what is not one. The end of the feed is an *Ended.
func (r *Reader) NextEvent() (e wire.Event, err error) {
	for {
		m, err := r.Next()
		switch {
		case err != nil:
			return e, err
		case m.Name == "end":
			var ended Ended
			if err := json.Unmarshal([]byte(m.Data), &ended); err != nil {
				return e, err
			}
			return e, &ended
		case m.Data != "":
			err := json.Unmarshal([]byte(m.Data), &e)
			if err == nil && !strings.HasSuffix(m.ID, fmt.Sprintf("-%d", e.Position)) {
				err = fmt.Errorf("event %d came with the id %q", e.Position, m.ID)
			}
			return e, err
		}
	}
}

// Ended is why a feed ended, where it said so.
type Ended struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error implements error.
func (e *Ended) Error() string { return e.Code + ": " + e.Detail }

// Take returns the next n events.
func (r *Reader) Take(t testing.TB, n int) (all []wire.Event) {
	t.Helper()
	for len(all) < n {
		e, err := r.NextEvent()
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		all = append(all, e)
	}
	return all
}

// Positions returns the positions of events.
func Positions(all []wire.Event) []int64 {
	positions := make([]int64, len(all))
	for i, e := range all {
		positions[i] = e.Position
	}
	return positions
}
