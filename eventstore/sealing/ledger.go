package sealing

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrLedger says that a file is not a whole erasure ledger of this database: it was cut off, changed, or comes from
// another one.
var ErrLedger = errors.New("this is not a whole erasure ledger of this database")

// ledgerEnd is the last line of a ledger: how many lines come before it, and the HMAC-SHA-256 of their bytes.
type ledgerEnd struct {
	Erasures *int   `json:"erasures"`
	MAC      string `json:"mac"`
}

// ExportLedger writes everyone who was ever forgotten, in the order of the log, as JSON lines; the last line signs the
// others. A tombstone that came with an imported log has no position here, and is written first. It returns how many
// there are. Nothing in it is personal beyond the ids of those who were forgotten.
func (k *Keys) ExportLedger(ctx context.Context, w io.Writer) (n int, err error) {
	const q = `
		SELECT k.subject, coalesce(e.forgotten_at, k.forgotten_at), coalesce(e.position, 0) AS position
		FROM atlas.subject_keys k LEFT JOIN atlas.erasures e ON e.subject = k.subject
		WHERE k.wrapped IS NULL
		ORDER BY position, k.subject`
	mac, err := k.ledgerMAC(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := k.pool.Query(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("read the erasure ledger: %w", err)
	}
	lines := json.NewEncoder(io.MultiWriter(w, mac))
	var e Erasure
	_, err = pgx.ForEachRow(rows, []any{&e.Subject, &e.ForgottenAt, &e.Position}, func() error {
		n++
		e.ForgottenAt = e.ForgottenAt.UTC()
		return lines.Encode(e)
	})
	if err != nil {
		return n, fmt.Errorf("export the erasure ledger: %w", err)
	}
	return n, json.NewEncoder(w).Encode(ledgerEnd{Erasures: &n, MAC: hex.EncodeToString(mac.Sum(nil))})
}

// ReadLedger reads what ExportLedger has written. Anything else is ErrLedger, and nothing of it is returned.
func (k *Keys) ReadLedger(ctx context.Context, r io.Reader) ([]Erasure, error) {
	mac, err := k.ledgerMAC(ctx)
	if err != nil {
		return nil, err
	}
	var all []Erasure
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return nil, errors.Join(ErrLedger, lines.Err())
		}
		var end ledgerEnd
		if err := json.Unmarshal(lines.Bytes(), &end); err != nil {
			return nil, ErrLedger
		}
		if end.Erasures != nil {
			if err := end.check(len(all), mac, lines); err != nil {
				return nil, err
			}
			return all, nil
		}
		var e Erasure
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Subject == uuid.Nil {
			return nil, ErrLedger
		}
		mac.Write(append(bytes.Clone(lines.Bytes()), '\n'))
		all = append(all, e)
	}
}

// check holds the last line against what came before it, and that nothing follows.
func (end ledgerEnd) check(n int, mac hash.Hash, rest *bufio.Scanner) error {
	signed, err := hex.DecodeString(end.MAC)
	if err != nil || *end.Erasures != n || !hmac.Equal(signed, mac.Sum(nil)) || rest.Scan() {
		return ErrLedger
	}
	return nil
}

// ledgerMAC signs with a key made of the check value: that is there from the first start on, and so in every backup.
func (k *Keys) ledgerMAC(ctx context.Context) (hash.Hash, error) {
	secret, err := k.Secret(ctx, checkSecret)
	if err != nil {
		return nil, err
	}
	key := hmac.New(sha256.New, secret)
	key.Write([]byte("erasure ledger"))
	return hmac.New(sha256.New, key.Sum(nil)), nil
}

// Remaining returns which of the erasures do not hold in this database: those subjects have no tombstone.
func (k *Keys) Remaining(ctx context.Context, ledger []Erasure) ([]uuid.UUID, error) {
	const q = `
		SELECT s.subject
		FROM unnest($1::uuid[]) AS s (subject)
		WHERE NOT EXISTS (SELECT FROM atlas.subject_keys k WHERE k.subject = s.subject AND k.wrapped IS NULL)`
	subjects := make([]uuid.UUID, len(ledger))
	for i, e := range ledger {
		subjects[i] = e.Subject
	}
	rows, err := k.pool.Query(ctx, q, subjects)
	if err != nil {
		return nil, fmt.Errorf("verify the erasure ledger: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}
