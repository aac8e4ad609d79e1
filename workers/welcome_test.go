package workers_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/commands"
	"github.com/atlas-platform/atlas/eventstore/subscription"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/mail"
	"github.com/atlas-platform/atlas/internal/watchtest"
	"github.com/atlas-platform/atlas/workers"
)

// mailbox is a directory that mails are written to.
type mailbox struct {
	mail.Sender
	dir string
}

func newMailbox(t *testing.T) mailbox {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mail")
	sender, err := mail.Open("", dir, "Atlas <atlas@localhost>")
	if err != nil {
		t.Fatal(err)
	}
	return mailbox{sender, dir}
}

// mails returns what the mailbox holds, by file.
func (b mailbox) mails(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(file)] = string(text)
	}
	return found
}

// wantWelcomed holds that the mailbox has one mail each for the addresses.
func (b mailbox) wantWelcomed(t *testing.T, addresses ...string) {
	t.Helper()
	mails := b.mails(t)
	for _, address := range addresses {
		n := 0
		for _, text := range mails {
			n += strings.Count(text, "To: <"+address+">")
		}
		if n != 1 {
			t.Errorf("%s got %d mails, want 1", address, n)
		}
	}
	if len(mails) != len(addresses) {
		t.Errorf("%d mails were written, want %d", len(mails), len(addresses))
	}
}

// welcoming runs the worker, and returns a channel that tells of every message it has handled.
func welcoming(t *testing.T, l *logtest.Log, sender mail.Sender, log *slog.Logger) <-chan error {
	t.Helper()
	handled := make(chan error, 100)
	welcome := workers.Welcome(commands.NewHandler(l.Store), sender, log)
	startRouter(t, l, func(r *workers.Router) {
		r.Handle("welcome", users, func(m *message.Message) error {
			err := welcome(m)
			handled <- err
			return err
		})
	})
	return handled
}

func TestWhoeverRegistersIsWelcomedOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	box := newMailbox(t)
	handled := welcoming(t, l, box, quiet)
	id := register(t, l, "ann@example.com")
	write(t, l, commands.User.On(id, commands.ChangeUserName{ID: id, By: id, Name: "Anna"}))
	register(t, l, "bob@example.com")
	for range 3 {
		if err := receive(t, handled); err != nil {
			t.Error(err)
		}
	}
	box.wantWelcomed(t, "ann@example.com", "bob@example.com")
}

// breaking is a sender that fails once after it has sent.
type breaking struct {
	mail.Sender
	once sync.Once
}

func (b *breaking) Send(ctx context.Context, m mail.Message) error {
	err := b.Sender.Send(ctx, m)
	b.once.Do(func() { err = errors.New("the connection broke") })
	return err
}

func TestAFailureBetweenSendingAndSayingSoLeavesOneMail(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	box := newMailbox(t)
	handled := welcoming(t, l, &breaking{Sender: box}, quiet)
	register(t, l, "ann@example.com")
	register(t, l, "bob@example.com")
	for range 3 { // one of them twice
		receive(t, handled)
	}
	box.wantWelcomed(t, "ann@example.com", "bob@example.com")
}

// refusing is a sender that fails in one way.
type refusing struct{ err error }

func (s refusing) Send(context.Context, mail.Message) error { return s.err }

func TestAMailThatCanNeverBeSentHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{mail.ErrInvalidMessage, mail.ErrRejected} {
		l := newLog(t)
		var log watchtest.Output
		handled := welcoming(t, l, refusing{refusal}, slog.New(slog.NewTextHandler(&log, nil)))
		register(t, l, "ann@example.com")
		register(t, l, "bob@example.com")
		for range 2 {
			if err := receive(t, handled); !subscription.IsAnswer(err) || strings.Contains(err.Error(), "@") {
				t.Errorf("%v: got %v, want a permanent failure that names nobody", refusal, err)
			}
		}
		if text := log.String(); !strings.Contains(text, "given up") || strings.Contains(text, "@example.com") || strings.Contains(text, "Ann") {
			t.Errorf("%v: logged %q, want that it was given up, and nothing personal", refusal, text)
		}
	}
}

func TestAMailServerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	away := errors.New("connection refused")
	handled := welcoming(t, l, refusing{away}, quiet)
	register(t, l, "ann@example.com")
	for range 2 {
		if err := receive(t, handled); !errors.Is(err, away) {
			t.Errorf("got %v, want the error, so that the message comes again", err)
		}
	}
}

// accounts is one answer to who a user is.
type accounts struct {
	account commands.Account
	err     error
}

func (a accounts) Account(context.Context, uuid.UUID) (commands.Account, error) {
	return a.account, a.err
}

func TestWhoIsGoneGetsNoMail(t *testing.T) {
	t.Parallel()
	for what, who := range map[string]accounts{
		"missing":   {err: commands.ErrNotFound},
		"forgotten": {account: commands.Account{ID: ann, Email: ""}},
		"disabled":  {account: commands.Account{ID: ann, Email: "ann@example.com", Disabled: true}},
	} {
		l := newLog(t)
		box := newMailbox(t)
		welcome := workers.Welcome(who, box, quiet)
		handled := make(chan error, 1)
		startRouter(t, l, func(r *workers.Router) {
			r.Handle("welcome", users, func(m *message.Message) error {
				err := welcome(m)
				handled <- err
				return err
			})
		})
		register(t, l, "ann@example.com")
		if err := receive(t, handled); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := len(box.mails(t)); n != 0 {
			t.Errorf("%s: %d mails were written", what, n)
		}
	}
}

// TestWhoWasForgottenBeforeTheMailGetsNone forgets a user between the event and its message being handled.
func TestWhoWasForgottenBeforeTheMailGetsNone(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	id := register(t, l, "ann@example.com")
	mustExec(t, l.Pool, `UPDATE atlas.subject_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = $1`, id)
	box := newMailbox(t)
	if err := receive(t, welcoming(t, l.Node(t), box, quiet)); err != nil {
		t.Error(err)
	}
	box.wantWelcomed(t)
}
