package mail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const from = "Atlas <no-reply@atlas.example>"

func hello() Message {
	return Message{
		ID:      "0190a3c0-0000-7000-8000-000000000001",
		To:      "ann@example.com",
		Subject: "Willkommen bei Atlas – schön",
		Text:    "Hello Ann,\n\n.a line that starts with a dot\n.\nüber " + strings.Repeat("long ", 60) + "\n",
	}
}

func openDir(t *testing.T) (Sender, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mail")
	sender, err := Open("", dir, from)
	if err != nil {
		t.Fatal(err)
	}
	return sender, dir
}

// wantMail parses a mail as its reader would and compares it with the message.
func wantMail(t *testing.T, raw []byte, want Message) {
	t.Helper()
	got, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != want.Subject {
		t.Errorf("subject = %q, %v; want %q", subject, err, want.Subject)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	if plain := strings.ReplaceAll(string(text), "\r\n", "\n"); err != nil || strings.TrimRight(plain, "\n") != strings.TrimRight(want.Text, "\n") {
		t.Errorf("text = %q, %v; want %q", plain, err, want.Text)
	}
	for name, value := range map[string]string{
		"From": `"Atlas" <no-reply@atlas.example>`, "To": "<" + want.To + ">", "Auto-Submitted": "auto-generated",
		"Message-ID": "<" + want.ID + "@atlas.example>", "Content-Type": "text/plain; charset=UTF-8",
	} {
		if got := got.Header.Get(name); got != value {
			t.Errorf("%s = %q, want %q", name, got, value)
		}
	}
	if _, err := got.Header.Date(); err != nil {
		t.Errorf("Date: %v", err)
	}
	if got.Header.Get("Bcc") != "" || got.Header.Get("X-Mailer") != "" {
		t.Errorf("headers hold more than they should: %v", got.Header)
	}
}

func TestMailIsWrittenToAPrivateFile(t *testing.T) {
	t.Parallel()
	sender, dir := openDir(t)
	if err := sender.Send(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, hello().ID+".eml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wantMail(t, raw, hello())
	for path, want := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", filepath.Base(path), info.Mode().Perm(), err, want)
		}
	}
}

func TestSameIDTwiceIsOneFile(t *testing.T) {
	t.Parallel()
	sender, dir := openDir(t)
	second := hello()
	second.Text = "again"
	for _, m := range []Message{hello(), second} {
		if err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	raw := onlyFile(t, dir)
	wantMail(t, raw, second)
}

func onlyFile(t *testing.T, dir string) []byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("directory holds %v, %v; want one file", entries, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestStrangeIDsStayInTheDirectoryAndApart(t *testing.T) {
	t.Parallel()
	sender, dir := openDir(t)
	ids := []string{"a/b", "a_b", "a.b", "../../etc/passwd", "/etc/passwd", ".", "..", "a\x00b", "a\r\nb", "ä", strings.Repeat("x", 300), strings.Repeat("x", 301)}
	for _, id := range ids {
		m := hello()
		m.ID = id
		if err := sender.Send(t.Context(), m); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != len(ids) {
		t.Errorf("%d files, %v; want %d", len(files), err, len(ids))
	}
	if beside, _ := os.ReadDir(filepath.Dir(dir)); len(beside) != 1 {
		t.Errorf("beside the directory: %v", beside)
	}
}

func TestMessageThatWouldBecomeAnotherIsRefused(t *testing.T) {
	t.Parallel()
	sender, dir := openDir(t)
	for name, spoil := range map[string]func(*Message){
		"no id":                      func(m *Message) { m.ID = "" },
		"a header in the subject":    func(m *Message) { m.Subject = "Hi\r\nBcc: eve@example.com" },
		"a line feed in the subject": func(m *Message) { m.Subject = "Hi\nBcc: eve@example.com" },
		"a NUL in the subject":       func(m *Message) { m.Subject = "Hi\x00" },
		"a subject that is no text":  func(m *Message) { m.Subject = "Hi\xff" },
		"a subject without end":      func(m *Message) { m.Subject = strings.Repeat("x", 501) },
		"no recipient":               func(m *Message) { m.To = "" },
		"two recipients":             func(m *Message) { m.To = "ann@example.com, eve@example.com" },
		"a recipient with a name":    func(m *Message) { m.To = "Ann <ann@example.com>" },
		"a header in the recipient":  func(m *Message) { m.To = "ann@example.com\r\nBcc: eve@example.com" },
		"a comment":                  func(m *Message) { m.To = "ann@example.com (eve)" },
	} {
		m := hello()
		spoil(&m)
		err := sender.Send(t.Context(), m)
		if !errors.Is(err, ErrInvalidMessage) {
			t.Errorf("%s: got %v, want ErrInvalidMessage", name, err)
			continue
		}
		if strings.Contains(err.Error(), "example.com") {
			t.Errorf("%s: the error names the recipient: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("the directory holds %v", entries)
	}
}

func TestMailThatCannotBeWrittenLeavesNothing(t *testing.T) {
	t.Parallel()
	sender, dir := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sender.Send(ctx, hello()); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, hello().ID+".eml"), 0o700); err != nil { // a directory in its place
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), hello()); err == nil {
		t.Error("no error where the file cannot be made")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the directory holds %v, want no temporary file", entries)
	}
}
