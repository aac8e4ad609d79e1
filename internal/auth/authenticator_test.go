package auth

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValidTokenNamesItsHolder(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t, newKeys(t))
	revocations, _ := newRevocations()
	authenticator := NewAuthenticator(tokens, revocations)
	token := issue(t, tokens)

	got, err := authenticator.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := Principal{User: annID, Session: sessionID, Roles: []string{"user", "admin"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	revocations.EndSession(sessionID, noon)
	if got, err := authenticator.Authenticate(t.Context(), token); !errors.Is(err, ErrTokenRevoked) || !cmp.Equal(got, Principal{}) {
		t.Errorf("after the session ended: %+v, %v; want nobody, ErrTokenRevoked", got, err)
	}
	if _, err := authenticator.Authenticate(t.Context(), ""); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("no token: %v, want ErrTokenInvalid", err)
	}
	revocations.Reset()
	if _, err := authenticator.Authenticate(t.Context(), token); !errors.Is(err, ErrRevocationsUnknown) {
		t.Errorf("without a feed: %v, want ErrRevocationsUnknown", err)
	}
}
