package writeapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
)

// refreshCookie keeps a browser's refresh token where no script can read it. It is good for refreshing and signing out
// and for nothing else. The prefix has browsers refuse it from other hosts and over plain HTTP.
const refreshCookie = "__Host-atlas_refresh"

// Faults of cookies.
var (
	ErrOrigin    = fault.New(fault.Forbidden, "origin_refused", "the cookie is taken from the pages of ATLAS_PUBLIC_URL alone; the Origin is missing or another")
	ErrNoCookies = fault.New(fault.Conflict, "cookies_unavailable", "ATLAS_PUBLIC_URL is not set, so no page can be told from another's; send and keep the refresh token yourself")
)

// Origin returns the origin of the pages at a URL, as browsers write it, or "" where it has none.
func Origin(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	for of, port := range map[string]string{"http": ":80", "https": ":443"} {
		if scheme == of {
			host = strings.TrimSuffix(host, port)
		}
	}
	return scheme + "://" + host
}

// checkOrigin lets only our own pages use the cookie: browsers send it along with requests that others' pages make, and
// they say whose page it is.
func (s *Server) checkOrigin(origin string) error {
	switch {
	case s.Origin == "":
		return ErrNoCookies
	case origin != s.Origin:
		return ErrOrigin
	}
	return nil
}

// intoCookie moves the refresh token from the answer's body into the cookie.
func intoCookie(ctx context.Context, t *tokens) {
	setRefreshCookie(ctx, t.Body.RefreshToken, int(auth.RefreshIdle.Seconds()))
	t.Body.RefreshToken = ""
}

// clearCookie has the browser forget the cookie, if it has sent one.
func clearCookie(ctx context.Context) {
	if httpapi.Cookie(ctx, refreshCookie) != "" {
		setRefreshCookie(ctx, "", -1)
	}
}

func setRefreshCookie(ctx context.Context, token string, maxAge int) {
	httpapi.SetCookie(ctx, &http.Cookie{
		Name: refreshCookie, Value: token, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// logoutCookie ends the session of the cookie. Whatever the cookie is, it is gone afterwards.
func (s *Server) logoutCookie(ctx context.Context, _ *struct{}) (*removed, error) {
	if err := s.checkOrigin(httpapi.Origin(ctx)); err != nil {
		return nil, err
	}
	token := auth.Secret(httpapi.Cookie(ctx, refreshCookie))
	clearCookie(ctx)
	session, _, err := s.Refresh.Parse(token)
	if err != nil {
		return &removed{}, nil
	}
	signIn, err := s.Accounts.ActiveSession(ctx, session)
	if errors.Is(err, commands.ErrNotFound) {
		return &removed{}, nil
	}
	if err != nil {
		return nil, err
	}
	ctx = auth.WithPrincipal(ctx, auth.Principal{User: signIn.User, Session: session})
	return s.endSession(ctx, session, "logout")
}
