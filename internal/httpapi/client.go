package httpapi

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// maxUserAgent bounds what is kept of a User-Agent, in bytes.
const maxUserAgent = 256

// Client is what is known of the machine a request came from. It is personal data: keep it out of logs.
type Client struct {
	Address   string // IP address of the connection
	UserAgent string // as the caller says, shortened
}

// ClientFrom returns the client of the request that ctx belongs to, or nothing outside a request.
func ClientFrom(ctx context.Context) Client { return callFrom(ctx).client }

func clientOf(r *http.Request) Client {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	return Client{Address: host, UserAgent: strings.Map(printable, strings.ToValidUTF8(agent, ""))}
}

// printable drops control characters, which no honest client sends and no log or database should hold.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}
