package workers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/workers"
)

// TestWhoSignedUpGetsATokenUnlessTheAddressHasAnAccount tells the four who signed up with one address apart.
func TestWhoSignedUpGetsATokenUnlessTheAddressHasAnAccount(t *testing.T) {
	t.Parallel()
	l := logtest.New(t)
	secret := []byte("a secret of the test's own......")
	tokens, err := auth.NewVerifications(secret)
	if err != nil {
		t.Fatal(err)
	}
	addressID := func(email string) uuid.UUID { return auth.EmailKey(secret, email) }
	box := newMailbox(t)
	handle := workers.Verification(commands.NewHandler(l.Store), box, tokens, addressID, quiet)
	deliver := func(user uuid.UUID) string {
		t.Helper()
		requested := events.UserVerificationRequested{UserID: user, VerifyBy: time.Now()}
		e, err := eventstore.NewRecorded(logtest.Vocabulary(t), eventstore.NewStream("user", user), 2, 2, time.Now(), requested)
		if err != nil {
			t.Fatal(err)
		}
		m := message.NewMessage(e.ID.String(), nil)
		m.SetContext(subscription.WithEvent(t.Context(), e))
		before := box.mails(t)
		if err := handle(m); err != nil {
			t.Fatal(err)
		}
		for name, text := range box.mails(t) {
			if _, old := before[name]; !old {
				return text
			}
		}
		return ""
	}
	by := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	signUp := func(by time.Time) uuid.UUID {
		id := newID()
		write(t, l, commands.User.On(id, commands.RegisterUser{ID: id, Email: "ann@example.com", Name: "Eve", PasswordHash: "hash", VerifyBy: by}))
		return id
	}
	first, second, late := signUp(by), signUp(by), signUp(time.Now().Add(-time.Second))
	for _, id := range []uuid.UUID{first, second} {
		text := strings.ReplaceAll(deliver(id), "=\r\n", "") // quoted-printable breaks lines
		if !strings.Contains(text, tokens.Mint(id, by).Reveal()) || !strings.Contains(text, "To: <ann@example.com>") || strings.Contains(text, "Eve") {
			t.Errorf("got %q, want the token and not the name", text)
		}
	}
	if text := deliver(late); text != "" {
		t.Errorf("a token that is no good any more was sent: %q", text)
	}
	write(t, l,
		commands.User.On(first, commands.VerifyUser{ID: first, At: time.Now()}),
		commands.Email.On(addressID("ann@example.com"), commands.ReserveEmail{User: first}))
	if text := deliver(first); text != "" {
		t.Errorf("who has verified got %q", text)
	}
	if text := deliver(second); !strings.Contains(text, "have an Atlas account already") || strings.Contains(text, "atv_") {
		t.Errorf("got %q, want to be told of the account that there is", text)
	}
}
