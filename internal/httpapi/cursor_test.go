package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

type place struct {
	At int64  `json:"at"`
	ID string `json:"id"`
}

var (
	cursors = httpapi.NewCursors(bytes.Repeat([]byte{7}, 32))
	here    = place{42, "x"}
)

func TestCursorReturnsToItsPlace(t *testing.T) {
	t.Parallel()
	got, err := httpapi.DecodeCursor[place](cursors, "documents", httpapi.EncodeCursor(cursors, "documents", here))
	if err != nil || got != here {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestForgedCursorIsInvalidParameter(t *testing.T) {
	t.Parallel()
	good := httpapi.EncodeCursor(cursors, "documents", here)
	other := httpapi.NewCursors(bytes.Repeat([]byte{8}, 32))
	for name, c := range map[string]struct{ cursor, purpose string }{
		"empty":            {"", "documents"},
		"not base64":       {"!" + good, "documents"},
		"cut":              {good[:len(good)-4], "documents"},
		"longer":           {good + "AAAA", "documents"},
		"of another list":  {good, "events"},
		"of another key":   {httpapi.EncodeCursor(other, "documents", here), "documents"},
		"of another shape": {httpapi.EncodeCursor(cursors, "documents", []int{1}), "documents"},
		"other version":    {"Ag" + good[2:], "documents"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := httpapi.DecodeCursor[place](cursors, c.purpose, c.cursor)
			if !errors.Is(err, httpapi.ErrInvalidParameter) {
				t.Fatalf("got %v", err)
			}
			if o, _, _ := fault.Of(err); len(o.Fields()) != 1 || o.Fields()[0].Pointer != "cursor" {
				t.Errorf("got %v", o.Fields())
			}
		})
	}
}

func TestEveryByteOfACursorCounts(t *testing.T) {
	t.Parallel()
	good := httpapi.EncodeCursor(cursors, "documents", here)
	for i := range good {
		bad := []byte(good)
		bad[i] ^= 1
		if _, err := httpapi.DecodeCursor[place](cursors, "documents", string(bad)); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	good := httpapi.EncodeCursor(cursors, "documents", here)
	f.Add(good)
	f.Add(good[1:])
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := httpapi.DecodeCursor[place](cursors, "documents", s); err == nil && s != good {
			t.Errorf("%q was accepted", s)
		}
	})
}

func TestShortCursorKeyPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	httpapi.NewCursors(make([]byte, 31))
}

func TestPageShowsItsLimitAndSaysThereIsMore(t *testing.T) {
	t.Parallel()
	cursor := func(last int) string { return string(rune('a' + last)) }
	for want, page := range map[string]httpapi.Page[int]{
		`{"data":[],"next_cursor":null,"has_more":false}`:    httpapi.NewPage[int](nil, 2, cursor),
		`{"data":[1,2],"next_cursor":null,"has_more":false}`: httpapi.NewPage([]int{1, 2}, 2, cursor),
		`{"data":[1,2],"next_cursor":"c","has_more":true}`:   httpapi.NewPage([]int{1, 2, 3}, 2, cursor),
	} {
		got, err := json.Marshal(page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
}
