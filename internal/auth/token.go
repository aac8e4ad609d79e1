package auth

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/fault"
)

const (
	// AccessTTL is how long an access token lives.
	AccessTTL = 10 * time.Minute

	// leeway is by how much the clocks of two nodes may differ.
	leeway = 30 * time.Second

	tokenType = "at+jwt" // RFC 9068
	maxToken  = 8 << 10  // bytes
	client    = "atlas"  // the client_id of Atlas's own sign-in
)

var (
	// ErrTokenInvalid refuses text that is not an access token of ours.
	ErrTokenInvalid = fault.New(fault.Unauthenticated, "token_invalid", "the access token is not valid")

	// ErrTokenExpired refuses an access token that was ours but is too old.
	ErrTokenExpired = fault.New(fault.Unauthenticated, "token_expired", "the access token has expired; refresh it")
)

// Claims is what an access token says. It holds no personal data: a token is readable to everyone who sees it.
type Claims struct {
	User      uuid.UUID // sub
	Session   uuid.UUID // sid
	ID        uuid.UUID // jti; given by Issue
	Epoch     int64     // tv: the credential epoch of the user when it was issued
	Shared    int64     // gv: the epoch that all tokens share, when it was issued
	Roles     []string  // roles
	Scope     string    // scope: space-separated
	Client    string    // client_id; "atlas" unless set
	AuthTime  time.Time // auth_time: when the user last proved who they are
	Methods   []string  // amr: how they did: "pwd", "otp", …
	IssuedAt  time.Time // iat; given by Issue
	ExpiresAt time.Time // exp; given by Issue
}

// Tokens issues access tokens and verifies them without asking anyone. It is safe for concurrent use.
type Tokens struct {
	trusted  atomic.Pointer[trust]
	issuer   string
	audience string
	clock    func() time.Time
	parser   *jwt.Parser
}

// trust is a key set and what was verified with it: a token whose key was taken out is remembered no longer.
type trust struct {
	keys     *Keys
	verified *memory[Claims]
}

// NewTokens returns tokens signed by the keys for one issuer and one audience.
func NewTokens(keys *Keys, issuer, audience string, clock func() time.Time) *Tokens {
	t := &Tokens{
		issuer: issuer, audience: audience, clock: clock,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
			jwt.WithStrictDecoding(),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithIssuer(issuer),
			jwt.WithAudience(audience),
			jwt.WithLeeway(leeway),
			jwt.WithTimeFunc(clock),
		),
	}
	t.Use(keys)
	return t
}

// Use has tokens signed and verified by another key set from now on. A token being verified may still be by the former.
func (t *Tokens) Use(keys *Keys) { t.trusted.Store(&trust{keys: keys, verified: newMemory[Claims]()}) }

// Keys returns the key set in use.
func (t *Tokens) Keys() *Keys { return t.trusted.Load().keys }

// wireClaims is the payload as RFC 9068 names its members.
type wireClaims struct {
	jwt.RegisteredClaims
	Session  uuid.UUID `json:"sid"`
	Client   string    `json:"client_id"`
	Epoch    int64     `json:"tv"`
	Shared   int64     `json:"gv"`
	AuthTime int64     `json:"auth_time"`
	Methods  []string  `json:"amr,omitempty"`
	Roles    []string  `json:"roles,omitempty"`
	Scope    string    `json:"scope,omitempty"`
}

// Issue returns a new access token that makes the claims, and how long it lives.
func (t *Tokens) Issue(c Claims) (Secret, time.Duration, error) {
	// A missing auth_time must not read as "just now" where a recent sign-in is asked for.
	if c.User == uuid.Nil || c.Session == uuid.Nil || c.AuthTime.IsZero() {
		return "", 0, errors.New("issue access token: it needs a user, a session and the time of signing in")
	}
	if c.Client == "" {
		c.Client = client
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return "", 0, fmt.Errorf("issue access token: %w", err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, t.wire(c, id, t.clock()))
	token.Header["typ"] = tokenType
	signing := t.Keys().signing
	token.Header["kid"] = signing.id
	signed, err := token.SignedString(signing.private())
	if err != nil {
		return "", 0, fmt.Errorf("sign access token: %w", err)
	}
	return Secret(signed), AccessTTL, nil
}

func (t *Tokens) wire(c Claims, id uuid.UUID, now time.Time) wireClaims {
	now = now.Truncate(time.Second)
	return wireClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.issuer,
			Subject:   c.User.String(),
			Audience:  jwt.ClaimStrings{t.audience},
			ExpiresAt: jwt.NewNumericDate(now.Add(AccessTTL)),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        id.String(),
		},
		Session:  c.Session,
		Client:   c.Client,
		Epoch:    c.Epoch,
		Shared:   c.Shared,
		AuthTime: c.AuthTime.Unix(),
		Methods:  c.Methods,
		Roles:    c.Roles,
		Scope:    c.Scope,
	}
}

// Verify returns what the token claims. It is ErrTokenExpired for a token of ours that is too old, and ErrTokenInvalid
// for anything else that is not exactly as Issue writes it. Whether it was revoked since is not known here.
func (t *Tokens) Verify(_ context.Context, token string) (Claims, error) {
	if len(token) > maxToken || strings.ContainsFunc(token, notTokenChar) {
		return Claims{}, ErrTokenInvalid
	}
	trusted, id := t.trusted.Load(), tokenID(token)
	if c, ok := trusted.verified.get(id); ok {
		if !t.clock().Before(c.ExpiresAt.Add(leeway)) {
			return Claims{}, ErrTokenExpired
		}
		return c.clone(), nil
	}
	c, err := t.parse(token, trusted.keys)
	if err != nil {
		return Claims{}, err
	}
	trusted.verified.put(id, c.clone())
	return c, nil
}

// notTokenChar refuses line breaks in particular, which base64 decoding skips: one token has one spelling.
func notTokenChar(r rune) bool { return notAlphanumeric(r) && r != '-' && r != '_' && r != '.' }

func (t *Tokens) parse(token string, keys *Keys) (Claims, error) {
	var wire wireClaims
	_, err := t.parser.ParseWithClaims(token, &wire, keys.verifying)
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Claims{}, ErrTokenExpired
	}
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	return wire.claims()
}

var errHeader = errors.New("token header is not one of ours")

// verifying accepts exactly the header that Issue writes. Members that name or carry a key (jku, jwk, x5u, x5c)
// and ones that must be understood (crit) are thereby refused unread.
func (k *Keys) verifying(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	public, ok := k.find(id)
	if !ok || len(token.Header) != 3 || token.Header["typ"] != tokenType {
		return nil, errHeader
	}
	return ed25519.PublicKey(public), nil
}

// claims checks what the library does not. A token that lives longer than AccessTTL would outlive its revocation.
func (w wireClaims) claims() (Claims, error) {
	user, userErr := uuid.Parse(w.Subject)
	id, idErr := uuid.Parse(w.ID)
	if userErr != nil || idErr != nil || user == uuid.Nil || w.Session == uuid.Nil || w.IssuedAt == nil ||
		len(w.Audience) != 1 || w.ExpiresAt.Sub(w.IssuedAt.Time) > AccessTTL {
		return Claims{}, ErrTokenInvalid
	}
	return Claims{
		User:      user,
		Session:   w.Session,
		ID:        id,
		Epoch:     w.Epoch,
		Shared:    w.Shared,
		Roles:     w.Roles,
		Scope:     w.Scope,
		Client:    w.Client,
		AuthTime:  time.Unix(w.AuthTime, 0).UTC(),
		Methods:   w.Methods,
		IssuedAt:  w.IssuedAt.UTC(),
		ExpiresAt: w.ExpiresAt.UTC(),
	}, nil
}

// Credential is what of the claims cut-offs are held against.
func (c Claims) Credential() Credential {
	return Credential{User: c.User, Epoch: c.Epoch, Session: c.Session, Shared: c.Shared}
}

// clone lets the caller change what it got without changing what others get.
func (c Claims) clone() Claims {
	c.Roles, c.Methods = slices.Clone(c.Roles), slices.Clone(c.Methods)
	return c
}
