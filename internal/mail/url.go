package mail

import (
	"errors"
	neturl "net/url"
	"strconv"

	gomail "github.com/wneessen/go-mail"
)

// server is what a URL says of a mail server.
type server struct {
	host     string
	port     int
	implicit bool // TLS from the first byte
	starttls gomail.TLSPolicy
	user     string
	password func() string // a function, so that printing the server shows nothing of it
}

// parseURL reads smtp://user:password@host:port?starttls=required|optional|off and smtps://…. Its errors never repeat
// the URL, which holds a password.
func parseURL(text string) (server, error) {
	u, err := neturl.Parse(text)
	if err != nil {
		return server{}, errors.New("it is not a URL; special characters in the password must be percent-encoded")
	}
	if u.Hostname() == "" || u.Opaque != "" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return server{}, errors.New("it is not of the form smtp://user:password@host:port")
	}
	s := server{host: u.Hostname(), user: u.User.Username(), starttls: gomail.TLSMandatory}
	password, _ := u.User.Password()
	s.password = func() string { return password }
	if err := s.setScheme(u.Scheme); err != nil {
		return server{}, err
	}
	if err := s.setPort(u.Port()); err != nil {
		return server{}, err
	}
	if err := s.setOptions(u.Query()); err != nil {
		return server{}, err
	}
	return s, nil
}

func (s *server) setScheme(scheme string) error {
	switch scheme {
	case "smtp":
		s.port = 587
	case "smtps":
		s.port, s.implicit, s.starttls = 465, true, gomail.NoTLS
	default:
		return errors.New("its scheme is neither smtp nor smtps")
	}
	return nil
}

func (s *server) setPort(text string) error {
	if text == "" {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return errors.New("its port is not a number from 1 to 65535")
	}
	s.port = int(port)
	return nil
}

func (s *server) setOptions(options neturl.Values) error {
	for name := range options {
		if name != "starttls" || s.implicit {
			return errors.New("it has an unknown parameter; smtp knows starttls, smtps none")
		}
		if err := s.setSTARTTLS(options.Get(name)); err != nil {
			return err
		}
	}
	if s.user != "" && !s.implicit && s.starttls != gomail.TLSMandatory {
		return errors.New("a password is only sent over TLS: leave starttls out, or the password")
	}
	return nil
}

func (s *server) setSTARTTLS(value string) error {
	switch value {
	case "required":
		s.starttls = gomail.TLSMandatory
	case "optional":
		s.starttls = gomail.TLSOpportunistic
	case "off":
		s.starttls = gomail.NoTLS
	default:
		return errors.New("its starttls is none of required, optional and off")
	}
	return nil
}
