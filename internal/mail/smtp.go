package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

const (
	dialTimeout = 10 * time.Second // to connect, and for the server's every answer
	sendTimeout = 30 * time.Second // for one message as a whole
)

// SMTP hands messages to a mail server, each over a connection of its own. It is safe for concurrent use.
type SMTP struct {
	server server
	from   *netmail.Address
	roots  *x509.CertPool // nil means the system's
}

func openSMTP(url string, from *netmail.Address) (*SMTP, error) {
	s, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("mail server's URL: %w", err)
	}
	return &SMTP{server: s, from: from}, nil
}

// Send returns when the server has taken the message, or cannot; at most 30 seconds later.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := compose(s.from, m)
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := s.deliver(ctx, msg); err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause // the connection was closed under the sender: what it saw is only the consequence
		}
		return fmt.Errorf("send mail %s: %w", msg.GetMessageID(), err)
	}
	return nil
}

// deliver keeps the connection in its own hands: the library leaves one open when signing in fails, and knows no
// cancellation once connected.
func (s *SMTP) deliver(ctx context.Context, msg *gomail.Msg) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	client, err := s.client(func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := s.dial(dialing, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	})
	if err != nil {
		return err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return s.withoutSecrets(err)
	}
	// What fails after the message was taken changes nothing.
	if err := client.SendWithSMTPClient(session, msg); err != nil && !msg.IsDelivered() {
		return withoutRecipient(err)
	}
	_ = session.Quit()
	return nil
}

func (s *SMTP) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.server.implicit {
		return (&tls.Dialer{Config: s.tls()}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (s *SMTP) tls() *tls.Config {
	return &tls.Config{ServerName: s.server.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

func (s *SMTP) client(dial gomail.DialContextFunc) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(s.server.port),
		gomail.WithTLSPolicy(s.server.starttls),
		gomail.WithTLSConfig(s.tls()),
		gomail.WithTimeout(dialTimeout),
		gomail.WithDialContextFunc(dial),
		gomail.WithoutNoop(),
	}
	if s.server.implicit {
		options = append(options, gomail.WithSSL())
	}
	if s.server.user != "" {
		options = append(options,
			// Only ever over TLS (see setOptions), which the library's own discovery does not see behind our dialer.
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin),
			gomail.WithUsername(s.server.user), gomail.WithPassword(s.server.password()))
	}
	return gomail.NewClient(s.server.host, options...)
}

// withoutSecrets says why there is no session with the server. Up to here the recipient has not been named to it.
func (s *SMTP) withoutSecrets(err error) error {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("the server answered %d while connecting", answer.Code)
	}
	text := err.Error()
	for _, secret := range []string{s.server.user, s.server.password()} {
		if secret != "" && strings.Contains(text, secret) {
			return errors.New("the server could not be signed in to")
		}
	}
	return errors.New(text)
}

// withoutRecipient says what the server refused, by codes only.
func withoutRecipient(err error) error {
	var failure *gomail.SendError
	if !errors.As(err, &failure) {
		return errors.New("the connection failed")
	}
	code := failure.ErrorCode()
	switch {
	case code >= 500:
		return fmt.Errorf("%w with %d %s, %s", ErrRejected, code, failure.EnhancedStatusCode(), failure.Reason)
	case code > 0:
		return fmt.Errorf("the server answered %d %s, %s", code, failure.EnhancedStatusCode(), failure.Reason)
	}
	return fmt.Errorf("the connection failed, %s", failure.Reason)
}
