package mail

import (
	"strings"
	"testing"

	gomail "github.com/wneessen/go-mail"
)

func TestServerIsReadFromItsURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]server{
		"smtp://mail.example":                            {host: "mail.example", port: 587, starttls: gomail.TLSMandatory},
		"smtp://mail.example:25?starttls=off":            {host: "mail.example", port: 25, starttls: gomail.NoTLS},
		"smtp://mail.example?starttls=optional":          {host: "mail.example", port: 587, starttls: gomail.TLSOpportunistic},
		"smtp://a%40b.c:p%40ss@mail.example":             {host: "mail.example", port: 587, starttls: gomail.TLSMandatory, user: "a@b.c"},
		"smtps://ann:p%40ss@[::1]":                       {host: "::1", port: 465, implicit: true, starttls: gomail.NoTLS, user: "ann"},
		"smtp://u:p%40ss@mail.example?starttls=required": {host: "mail.example", port: 587, starttls: gomail.TLSMandatory, user: "u"},
	} {
		got, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if want.user != "" && got.password() != "p@ss" {
			t.Errorf("%s: password %q", url, got.password())
		}
		if got.host != want.host || got.port != want.port || got.implicit != want.implicit || got.starttls != want.starttls || got.user != want.user {
			t.Errorf("%s: got %+v, want %+v", url, got, want)
		}
	}
}

func TestBadURLIsRefusedWithoutShowingIt(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"mail.example", "http://u:hunter2@mail.example", "smtp://u:hunter2@", "smtp:u:hunter2@mail.example",
		"smtp://u:hunter2%zz@mail.example", "smtp://u:hunter2@mail.example:port", "smtp://u:hunter2@mail.example:0",
		"smtp://u:hunter2@mail.example:70000", "smtp://u:hunter2@mail.example/path", "smtp://u:hunter2@mail.example#x",
		"smtp://u:hunter2@mail.example?tls=off", "smtp://u:hunter2@mail.example?starttls=hunter2",
		"smtp://u:hunter2@mail.example?starttls=off", "smtp://u:hunter2@mail.example?starttls=optional",
		"smtps://u:hunter2@mail.example?starttls=off", "smtp://u:hunter2\n@mail.example",
	} {
		_, err := Open(url, "", from)
		if err == nil {
			t.Errorf("%q was accepted", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestSenderNeedsAnAddressAndAPlace(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "atlas", "Atlas <>", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example"} {
		if _, err := Open("", t.TempDir(), bad); err == nil {
			t.Errorf("sender %q was accepted", bad)
		}
	}
	if _, err := Open("", "", from); err == nil {
		t.Error("neither server nor directory, and no error")
	}
}
