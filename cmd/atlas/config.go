package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
	"github.com/atlas-platform/atlas/internal/limits"
	"github.com/atlas-platform/atlas/internal/mail"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/telemetry"
	"github.com/atlas-platform/atlas/workers/outbox"
	"github.com/atlas-platform/atlas/workers/relay"
)

// Config is every setting of Atlas. All are optional in development mode.
type Config struct {
	Addr                  string        `env:"ATLAS_ADDR" envDefault:"127.0.0.1:8080"`               // where the API listens
	OpsAddr               string        `env:"ATLAS_OPS_ADDR" envDefault:"127.0.0.1:9090"`           // where metrics and profiles listen; "off" for nowhere
	DatabaseURL           auth.Secret   `env:"ATLAS_DATABASE_URL"`                                   // PostgreSQL 15 or newer; empty starts a private server
	OwnerDatabaseURL      auth.Secret   `env:"ATLAS_OWNER_DATABASE_URL"`                             // the same database for the role that owns its tables; ATLAS_DATABASE_URL is the application's then
	DataDir               string        `env:"ATLAS_DATA_DIR" envDefault:".atlas"`                   // private server, development keys and mails
	PostgresBin           string        `env:"ATLAS_POSTGRES_BIN"`                                   // where postgres and initdb are; empty looks for them
	Roles                 []string      `env:"ATLAS_ROLES" envDefault:"api,projector,worker,relay"`  // what this process does
	Dev                   bool          `env:"ATLAS_DEV"`                                            // development mode also on a database of one's own
	MasterKey             auth.Secret   `env:"ATLAS_MASTER_KEY"`                                     // wraps the keys of personal data; several with commas, the one in use first
	SigningKeys           auth.Secret   `env:"ATLAS_SIGNING_KEYS"`                                   // sign access tokens; likewise
	SMTPURL               auth.Secret   `env:"ATLAS_SMTP_URL"`                                       // where mail is handed in
	MailFrom              string        `env:"ATLAS_MAIL_FROM" envDefault:"Atlas <atlas@localhost>"` // who mail is from
	PublicURL             string        `env:"ATLAS_PUBLIC_URL"`                                     // where callers reach the API; the issuer of its tokens
	TrustedProxies        []string      `env:"ATLAS_TRUSTED_PROXIES"`                                // networks of proxies whose X-Forwarded-For is believed: 10.0.0.0/8,192.0.2.7
	Limits                string        `env:"ATLAS_LIMITS"`                                         // what is to differ from limits.Default; see limits.Parse
	Feeds                 int           `env:"ATLAS_FEEDS" envDefault:"1000"`                        // feeds of events that this process holds open at most
	FeedsPerKey           int           `env:"ATLAS_FEEDS_PER_KEY" envDefault:"20"`                  // of them, for one API key
	RedisURL              auth.Secret   `env:"ATLAS_REDIS_URL"`                                      // where nodes count limits together; empty lets each count for itself
	NATSURL               auth.Secret   `env:"ATLAS_NATS_URL"`                                       // where the role relay forwards the outbox's messages to; empty forwards none
	NATSPrefix            string        `env:"ATLAS_NATS_PREFIX" envDefault:"atlas"`                 // what the names of streams and subjects there begin with
	OutboxRetention       time.Duration `env:"ATLAS_OUTBOX_RETENTION" envDefault:"24h"`              // how long the outbox keeps what every group has read
	OutboxAbandonAfter    time.Duration `env:"ATLAS_OUTBOX_ABANDON_AFTER" envDefault:"168h"`         // when a group that stands still holds up its topic no longer
	OutboxAbandonMessages int64         `env:"ATLAS_OUTBOX_ABANDON_MESSAGES" envDefault:"10000000"`  // likewise one with more messages to read than that, after an hour
	LogLevel              string        `env:"ATLAS_LOG_LEVEL" envDefault:"info"`                    // debug, info, warn, error
	LogFormat             string        `env:"ATLAS_LOG_FORMAT" envDefault:"auto"`                   // json, text; auto is text on a terminal
}

// roles a process can have.
var knownRoles = []string{"api", "projector", "worker", "relay"}

// masterKeyName is the setting that whoever opens or seals personal data needs.
const masterKeyName = "ATLAS_MASTER_KEY"

// toServe lists what a server needs outside development mode, where it is not made up.
func toServe() []string { return []string{masterKeyName, "ATLAS_SIGNING_KEYS", "ATLAS_SMTP_URL"} }

// loadConfig reads and checks the settings. What is set must be good, whoever asks; the secrets among toServe that are needed must be
// set besides, outside development mode. Every fault is in the one error, none with the value of a secret.
func loadConfig(environ []string, needed ...string) (Config, error) {
	cfg, err := env.ParseAsWithOptions[Config](env.Options{Environment: env.ToMap(environ)})
	if err != nil {
		cfg.Dev = true                                                     // it may have been meant: the other settings are judged as if it was
		cfg.OutboxAbandonAfter = cmp.Or(cfg.OutboxAbandonAfter, time.Hour) // and what was no number, as if it was a good one
		cfg.OutboxAbandonMessages = cmp.Or(cfg.OutboxAbandonMessages, 1000)
	}
	faults := append([]error{wrongTypes(err), unknownSettings(environ)}, cfg.faults()...)
	faults = append(faults, cfg.missing(needed)...)
	if err := errors.Join(faults...); err != nil {
		return Config{}, usageError{fmt.Errorf("settings:\n%w", err)}
	}
	return cfg, nil
}

// wrongTypes names the settings whose text is no value of their type.
func wrongTypes(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	var faults []error
	for _, err := range all.Errors {
		var wrong env.ParseError
		if errors.As(err, &wrong) {
			field, _ := reflect.TypeFor[Config]().FieldByName(wrong.Name)
			err = fmt.Errorf("%s must be %s", field.Tag.Get("env"), written(wrong.Type))
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// written says how values of a setting's type are written.
func written(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a time such as 90s or 24h"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "a whole number"
}

// serviceLink matches what Kubernetes puts into every container about a service named atlas or atlas-something.
var serviceLink = regexp.MustCompile(`^ATLAS_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$`)

// unknownSettings finds names that look like settings and are none: a typing error would go unnoticed otherwise.
func unknownSettings(environ []string) error {
	var faults []error
	for name := range env.ToMap(environ) {
		if strings.HasPrefix(name, "ATLAS_") && !slices.Contains(settingNames(), name) && !serviceLink.MatchString(name) {
			faults = append(faults, fmt.Errorf("%s is not a setting of Atlas", name))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// settingNames lists the variables that Config reads.
func settingNames() (names []string) {
	for f := range reflect.TypeFor[Config]().Fields() {
		names = append(names, f.Tag.Get("env"))
	}
	return names
}

func (c Config) faults() (faults []error) {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		faults = append(faults, errors.New("ATLAS_ADDR must be host:port"))
	}
	if _, _, err := net.SplitHostPort(c.OpsAddr); err != nil && c.OpsAddr != "off" {
		faults = append(faults, errors.New("ATLAS_OPS_ADDR must be host:port, or off"))
	}
	for _, role := range c.Roles {
		if !slices.Contains(knownRoles, role) {
			faults = append(faults, fmt.Errorf("ATLAS_ROLES: %q is none of %s", role, strings.Join(knownRoles, ", ")))
		}
	}
	if len(c.Roles) == 0 {
		faults = append(faults, errors.New("ATLAS_ROLES must name at least one role"))
	}
	if len(c.Roles) == 1 && c.has("relay") && c.NATSURL == "" {
		faults = append(faults, errors.New("ATLAS_NATS_URL must be set for a process that is nothing but a relay"))
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			faults = append(faults, errors.New("ATLAS_PUBLIC_URL must be an http or https URL"))
		}
	}
	if _, err := telemetry.Logger(io.Discard, c.LogLevel, "json"); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_LOG_LEVEL: %w", err))
	}
	if _, err := telemetry.Logger(io.Discard, "info", c.LogFormat); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_LOG_FORMAT: %w", err))
	}
	return slices.Concat(faults, c.outboxFaults(), c.limitFaults(), c.peerFaults(), c.secretFaults())
}

// peerFaults holds that what Atlas connects to can be told from its URL.
func (c Config) peerFaults() (faults []error) {
	if err := postgres.CheckURL(c.DatabaseURL.Reveal()); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_DATABASE_URL: %w", err))
	}
	if _, err := mail.Open("", "mail", c.MailFrom); err != nil {
		faults = append(faults, errors.New("ATLAS_MAIL_FROM must be an address, such as Atlas <no-reply@example.com>"))
	}
	if _, err := mail.Open(c.SMTPURL.Reveal(), "mail", "atlas@localhost"); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_SMTP_URL: %w", err))
	}
	if c.NATSURL != "" {
		if err := relay.CheckURL(c.NATSURL.Reveal()); err != nil {
			faults = append(faults, fmt.Errorf("ATLAS_NATS_URL %w", err))
		}
	}
	if err := relay.CheckPrefix(c.NATSPrefix); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_NATS_PREFIX %w", err))
	}
	return faults
}

// outboxFaults holds that nobody is abandoned who merely pauses.
func (c Config) outboxFaults() (faults []error) {
	if c.OutboxRetention < 0 {
		faults = append(faults, errors.New("ATLAS_OUTBOX_RETENTION must not be negative; 0 keeps nothing that every group has read"))
	}
	if c.OutboxAbandonAfter < time.Hour {
		faults = append(faults, errors.New("ATLAS_OUTBOX_ABANDON_AFTER must be 1h or more"))
	}
	if c.OutboxAbandonMessages < 1000 {
		faults = append(faults, errors.New("ATLAS_OUTBOX_ABANDON_MESSAGES must be 1000 or more"))
	}
	return faults
}

// outbox says how the outbox's topics are kept.
func (c Config) outbox() outbox.Options {
	o := outbox.Options{Retention: c.OutboxRetention, AbandonAfter: c.OutboxAbandonAfter, AbandonMessages: c.OutboxAbandonMessages}
	if o.Retention == 0 {
		o.Retention = -1
	}
	return o
}

// limitFaults holds that limits, and by whom callers are told apart for them, can be read.
func (c Config) limitFaults() (faults []error) {
	if _, err := c.trustedProxies(); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_TRUSTED_PROXIES: %w", err))
	}
	if _, err := limits.Parse(c.Limits); err != nil {
		faults = append(faults, fmt.Errorf("ATLAS_LIMITS: %w", err))
	}
	if c.Feeds < 1 || c.FeedsPerKey < 1 || c.FeedsPerKey > c.Feeds {
		faults = append(faults, errors.New("ATLAS_FEEDS and ATLAS_FEEDS_PER_KEY must be at least 1, and the latter no more than the former"))
	}
	if c.RedisURL != "" {
		if err := limits.CheckRedisURL(c.RedisURL.Reveal()); err != nil {
			faults = append(faults, fmt.Errorf("ATLAS_REDIS_URL %w", err))
		}
	}
	return faults
}

// trustedProxies reads the networks; an address alone is a network of one. All faults are in the one error.
func (c Config) trustedProxies() (all []netip.Prefix, err error) {
	var faults []error
	for _, text := range c.TrustedProxies {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("%q is no network such as 10.0.0.0/8", text))
		case p.Bits() == 0:
			faults = append(faults, fmt.Errorf("%q would let anybody say where they come from", text))
		default:
			all = append(all, p.Masked())
		}
	}
	return all, errors.Join(faults...)
}

// secretFaults holds that secrets are readable where they are set.
func (c Config) secretFaults() (faults []error) {
	if c.MasterKey != "" {
		if _, err := sealing.ParseMaster(c.MasterKey.Reveal()); err != nil {
			faults = append(faults, fmt.Errorf("ATLAS_MASTER_KEY: %w", err))
		}
	}
	if c.SigningKeys != "" {
		if _, err := auth.ParseKeys(c.SigningKeys.Reveal()); err != nil {
			faults = append(faults, fmt.Errorf("ATLAS_SIGNING_KEYS: %w", err))
		}
	}
	return append(faults, c.ownerFaults()...)
}

// missing holds that the secrets that are needed are there where they must be.
func (c Config) missing(needed []string) (faults []error) {
	if c.development() {
		return nil
	}
	secrets := map[string]auth.Secret{masterKeyName: c.MasterKey, "ATLAS_SIGNING_KEYS": c.SigningKeys, "ATLAS_SMTP_URL": c.SMTPURL}
	for _, name := range needed {
		if secrets[name] == "" {
			faults = append(faults, fmt.Errorf("%s must be set outside development mode", name))
		}
	}
	return faults
}

// ownerFaults holds that the owner is another role than the application.
func (c Config) ownerFaults() (faults []error) {
	const name = "ATLAS_OWNER_DATABASE_URL"
	owner, err := postgres.Role(c.OwnerDatabaseURL.Reveal())
	app, appErr := postgres.Role(c.DatabaseURL.Reveal())
	switch {
	case c.OwnerDatabaseURL == "":
	case err != nil:
		faults = append(faults, fmt.Errorf("%s: %w", name, err))
	case c.DatabaseURL == "":
		faults = append(faults, fmt.Errorf("%s must be set together with ATLAS_DATABASE_URL, which is the application's", name))
	case appErr == nil && owner == app:
		faults = append(faults, fmt.Errorf("%s must name another role than ATLAS_DATABASE_URL", name))
	}
	return faults
}

// development says whether keys may be made and mails be written to files: on a private server that only this machine
// can reach, or where ATLAS_DEV says so.
func (c Config) development() bool {
	return c.Dev || c.DatabaseURL == "" && loopback(c.Addr)
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// has says whether this process has a role.
func (c Config) has(role string) bool { return slices.Contains(c.Roles, role) }
