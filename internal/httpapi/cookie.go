package httpapi

import (
	"context"
	"net/http"
)

// Cookie returns the value of a cookie that the caller sent, or "" if there is none, or more than one of that name: which
// of them counts would be a matter of taste.
func Cookie(ctx context.Context, name string) (value string) {
	found := 0
	for _, c := range callFrom(ctx).cookies {
		if c.Name == name {
			value = c.Value
			found++
		}
	}
	if found != 1 {
		return ""
	}
	return value
}

// SetCookie adds a cookie to the answer, whatever that comes to.
func SetCookie(ctx context.Context, c *http.Cookie) {
	if h := callFrom(ctx).header; h != nil {
		h.Add("Set-Cookie", c.String())
	}
}

// Origin returns what the caller's browser says of the page that the request comes from, or "" where nothing is said. It
// is what tells our own pages from others', with whose requests a browser sends our cookies too.
func Origin(ctx context.Context) string { return callFrom(ctx).origin }
