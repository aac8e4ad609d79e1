package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
)

const password = "hunter2-and-more"

// postbox is a real SMTP server on the loopback address, which keeps what it is sent.
type postbox struct {
	addr     string
	roots    *x509.CertPool
	onRcpt   error // the answer to every recipient
	needAuth bool

	mu   sync.Mutex
	got  []delivery
	auth int
}

type delivery struct {
	From, To string
	Raw      string
}

type kind int

const (
	plain    kind = iota // no TLS at all
	starttls             // TLS on request
	implicit             // TLS from the first byte
)

func newPostbox(t *testing.T, k kind, prepare func(*postbox)) *postbox {
	t.Helper()
	certificate, roots := newCertificate(t)
	box := &postbox{roots: roots}
	if prepare != nil {
		prepare(box)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &visit{box: box}, nil }))
	server.Domain = "localhost"
	server.ErrorLog = quiet{}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box.addr = listener.Addr().String()
	switch k {
	case starttls:
		server.TLSConfig = config
	case implicit:
		listener = tls.NewListener(listener, config)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return box
}

// quiet drops what the server says of clients that go away.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// visit is one connection to the postbox.
type visit struct {
	box      *postbox
	signedIn bool
	mail     delivery
}

func (v *visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != "atlas" || pass != password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no " + user + " with " + pass}
		}
		v.box.mu.Lock()
		defer v.box.mu.Unlock()
		v.signedIn = true
		v.box.auth++
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if v.box.needAuth && !v.signedIn {
		return smtp.ErrAuthRequired
	}
	v.mail.From = from
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.mail.To = to
	return v.box.onRcpt
}

func (v *visit) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	v.mail.Raw = string(raw)
	v.box.mu.Lock()
	defer v.box.mu.Unlock()
	v.box.got = append(v.box.got, v.mail)
	return nil
}

// held returns the mails so far and how often a client signed in.
func (p *postbox) held() ([]delivery, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got), p.auth
}

func (v *visit) Reset()        { v.mail = delivery{} }
func (v *visit) Logout() error { return nil }

// newCertificate returns a certificate for the loopback address and the pool that trusts it.
func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postbox"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// open returns a sender for the URL, in which %s stands for the postbox, that trusts it.
func (p *postbox) open(t *testing.T, url string) *SMTP {
	t.Helper()
	sender, err := Open(fmt.Sprintf(url, p.addr), "", from)
	if err != nil {
		t.Fatal(err)
	}
	s := sender.(*SMTP)
	s.roots = p.roots
	return s
}

func TestMailArrives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind kind
		url  string
	}{
		"over STARTTLS, signed in":     {starttls, "smtp://atlas:" + password + "@%s"},
		"over TLS, signed in":          {implicit, "smtps://atlas:" + password + "@%s"},
		"over STARTTLS, where offered": {starttls, "smtp://%s?starttls=optional"},
		"in the clear, none offered":   {plain, "smtp://%s?starttls=optional"},
		"in the clear":                 {plain, "smtp://%s/?starttls=off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signIn := strings.Contains(c.url, password)
			box := newPostbox(t, c.kind, func(p *postbox) { p.needAuth = signIn })
			if err := box.open(t, c.url).Send(t.Context(), hello()); err != nil {
				t.Fatal(err)
			}
			mails, signIns := box.held()
			if len(mails) != 1 || signIn != (signIns == 1) {
				t.Fatalf("%d mails, signed in %d times; want one mail", len(mails), signIns)
			}
			got := mails[0]
			wantMail(t, []byte(got.Raw), hello())
			got.Raw = ""
			if diff := cmp.Diff(delivery{From: "no-reply@atlas.example", To: "ann@example.com"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConcurrentMailsAllArrive(t *testing.T) {
	t.Parallel()
	box := newPostbox(t, plain, nil)
	sender := box.open(t, "smtp://%s?starttls=off")
	var group sync.WaitGroup
	for n := range 10 {
		group.Go(func() {
			m := hello()
			m.ID = fmt.Sprint(n)
			if err := sender.Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if mails, _ := box.held(); len(mails) != 10 {
		t.Errorf("%d mails, want 10", len(mails))
	}
}

// wantQuietError wants an error that shows neither the recipient nor the password nor the message.
func wantQuietError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, private := range []string{"ann", password, "Hello", "Willkommen"} {
		if printed := fmt.Sprintf("%v %+v", err, err); strings.Contains(printed, private) {
			t.Errorf("the error shows %q: %s", private, printed)
		}
	}
}

func TestRefusalForGoodIsToldFromOneForNow(t *testing.T) {
	t.Parallel()
	for code, rejected := range map[int]bool{550: true, 451: false} {
		box := newPostbox(t, plain, func(p *postbox) {
			p.onRcpt = &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "<ann@example.com> is not here"}
		})
		err := box.open(t, "smtp://%s?starttls=off").Send(t.Context(), hello())
		wantQuietError(t, err)
		if errors.Is(err, ErrRejected) != rejected || !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("%d: %v; rejected should be %v", code, err, rejected)
		}
	}
}

func TestWrongPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	box := newPostbox(t, starttls, nil)
	err := box.open(t, "smtp://atlas:"+password+"-wrong@%s").Send(t.Context(), hello())
	wantQuietError(t, err)
	if !strings.Contains(err.Error(), "535") || errors.Is(err, ErrRejected) {
		t.Errorf("got %v; want the answer's code, and a failure that may pass", err)
	}
}

func TestPasswordIsNeverSentWithoutTrustedTLS(t *testing.T) {
	t.Parallel()
	noTLS := newPostbox(t, plain, nil)
	err := noTLS.open(t, "smtp://atlas:"+password+"@%s").Send(t.Context(), hello())
	wantQuietError(t, err)
	if _, signIns := noTLS.held(); signIns != 0 {
		t.Error("a server without TLS got the password")
	}
	for kind, url := range map[kind]string{starttls: "smtp://atlas:" + password + "@%s", implicit: "smtps://atlas:" + password + "@%s"} {
		stranger := newPostbox(t, kind, nil)
		sender := stranger.open(t, url)
		sender.roots = noTLS.roots
		err := sender.Send(t.Context(), hello())
		wantQuietError(t, err)
		if mails, signIns := stranger.held(); signIns != 0 || len(mails) != 0 {
			t.Errorf("a server with another's certificate got the password or the mail")
		}
	}
}

func TestSilentServerIsGivenUpWithItsCaller(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // it accepts connections and never answers
	sender, err := Open("smtp://"+listener.Addr().String(), "", from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = sender.Send(ctx, hello())
	wantQuietError(t, err)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v; want the caller's deadline", time.Since(began), err)
	}
}

func TestUnreachableServerIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	sender, err := Open("smtp://atlas:"+password+"@"+addr, "", from)
	if err != nil {
		t.Fatal(err)
	}
	err = sender.Send(t.Context(), hello())
	wantQuietError(t, err)
	if !strings.Contains(err.Error(), addr) {
		t.Errorf("%v does not name the server %s", err, addr)
	}
}

func TestInvalidMessageReachesNoServer(t *testing.T) {
	t.Parallel()
	box := newPostbox(t, plain, nil)
	m := hello()
	m.Subject = "Hi\r\nBcc: eve@example.com"
	err := box.open(t, "smtp://%s?starttls=off").Send(t.Context(), m)
	if mails, _ := box.held(); !errors.Is(err, ErrInvalidMessage) || len(mails) != 0 {
		t.Errorf("%v, %d mails; want ErrInvalidMessage", err, len(mails))
	}
}

func TestPrintedSenderShowsNoPassword(t *testing.T) {
	t.Parallel()
	sender, err := Open("smtp://atlas:"+password+"@mail.example", "", from)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if printed := fmt.Sprintf(verb, sender); strings.Contains(printed, password) {
			t.Errorf("%s shows the password: %s", verb, printed)
		}
	}
}
