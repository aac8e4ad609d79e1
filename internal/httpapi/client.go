package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxUserAgent bounds what is kept of a User-Agent, in bytes.
const maxUserAgent = 256

// Client is what is known of the machine a request came from. It is personal data: keep it out of logs.
type Client struct {
	Address   string // IP address of the caller: of the connection, or what trusted proxies say; see Config.TrustedProxies
	UserAgent string // as the caller says, shortened
}

// ClientFrom returns the client of the request that ctx belongs to, or nothing outside a request.
func ClientFrom(ctx context.Context) Client { return callFrom(ctx).client }

// Network returns what a client is counted by: its address, or with IPv6 its /64, of which one machine has all addresses.
func (c Client) Network() string {
	a, err := netip.ParseAddr(c.Address)
	if err != nil || a.Is4() {
		return c.Address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return c.Address
	}
	return p.String()
}

func clientOf(r *http.Request, trusted []netip.Prefix) Client {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	return Client{Address: addressOf(r, trusted), UserAgent: strings.Map(printable, strings.ToValidUTF8(agent, ""))}
}

// addressOf walks from the connection through the proxies that are trusted, each of which names the one before it, to
// the first address that is none: all beyond that is what a stranger says. So is what cannot be read.
func addressOf(r *http.Request, trusted []netip.Prefix) string {
	peer, ok := parseHop(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	if !trusts(trusted, peer) {
		return peer.String()
	}
	for _, hop := range slices.Backward(hops(r.Header)) {
		address, ok := parseHop(hop)
		if !ok {
			break
		}
		peer = address
		if !trusts(trusted, peer) {
			break
		}
	}
	return peer.String()
}

func trusts(trusted []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hops lists what proxies say of whom they forward, the nearest last. X-Forwarded-For goes before Forwarded, and they
// are not mixed: a proxy maintains one of them and passes on the other as a stranger wrote it.
func hops(h http.Header) (all []string) {
	if lines := h.Values("X-Forwarded-For"); len(lines) > 0 {
		return strings.Split(strings.Join(lines, ","), ",")
	}
	for element := range strings.SplitSeq(strings.Join(h.Values("Forwarded"), ","), ",") {
		all = append(all, forwardedFor(element))
	}
	return all
}

// forwardedFor returns the for= of one element of Forwarded (RFC 7239), or "" where it has none.
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80. One address
// has one spelling: IPv4 within IPv6 is IPv4, and a zone is dropped.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

// printable drops control characters, which no honest client sends and no log or database should hold.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}
