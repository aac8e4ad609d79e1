package eventstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// open decrypts the personal parts of the events, all at once. Whom they say to be forgotten is forgotten first.
func (s *Store) open(ctx context.Context, found []closed) ([]*Recorded, error) {
	s.heed(found)
	var envelopes []*Envelope
	for _, c := range found {
		for _, e := range []*Envelope{c.sealed, c.secret, c.client} {
			if e != nil {
				envelopes = append(envelopes, e)
			}
		}
	}
	if len(envelopes) > 0 {
		if err := s.sealer.Open(ctx, envelopes); err != nil {
			return nil, fmt.Errorf("open sealed fields: %w", unavailable(err))
		}
	}
	all := make([]*Recorded, len(found))
	for i, c := range found {
		c.unfold()
		all[i] = c.recorded
	}
	return all, nil
}

// heed tells the sealer who is forgotten.
func (s *Store) heed(found []closed) {
	var subjects []uuid.UUID
	for _, c := range found {
		if c.recorded.Type == forgottenType {
			subjects = append(subjects, c.recorded.Stream.ID)
		}
	}
	if f, ok := s.sealer.(Forgetter); ok && len(subjects) > 0 {
		f.Forgotten(subjects...)
	}
}

// unsure tells the sealer that part of the log went unread.
func (s *Store) unsure() {
	if f, ok := s.sealer.(Forgetter); ok {
		f.Unsure()
	}
}

// unfold puts what was opened into the event. What could not be opened fails those who decode the event, and nobody
// else: one damaged value must not stop whoever reads the log.
func (c closed) unfold() {
	r := c.recorded
	if c.sealed != nil {
		r.Erased = c.sealed.Plain == nil && c.sealed.Err == nil
		if c.sealed.Sealed != nil {
			r.body.parts.Sealed = c.sealed.Plain
			r.body.damaged = c.sealed.Err
		}
	}
	if c.secret != nil {
		r.body.parts.Secret = c.secret.Plain
		r.body.damaged = cmp.Or(r.body.damaged, c.secret.Err)
		r.Erased = r.Erased || c.secret.Plain == nil && c.secret.Err == nil
	}
	if c.client != nil {
		r.body.client = c.client.Subject
		r.body.damaged = cmp.Or(r.body.damaged, c.client.Err)
		if c.client.Plain != nil {
			r.body.damaged = cmp.Or(r.body.damaged, json.Unmarshal(c.client.Plain, &r.Metadata.Client))
		}
	}
}
