package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
)

// open decrypts the personal parts of the events, all at once.
func (s *Store) open(ctx context.Context, found []closed) ([]*Recorded, error) {
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
		if err := c.unfold(); err != nil {
			return nil, fmt.Errorf("event %d: %w", c.recorded.Position, err)
		}
		all[i] = c.recorded
	}
	return all, nil
}

// unfold puts what was opened into the event.
func (c closed) unfold() error {
	r := c.recorded
	if c.sealed != nil {
		r.body.parts.Sealed = c.sealed.Plain
		r.Erased = c.sealed.Plain == nil
	}
	if c.secret != nil {
		r.body.parts.Secret = c.secret.Plain
		r.Erased = r.Erased || c.secret.Plain == nil
	}
	if c.client != nil && c.client.Plain != nil {
		if err := json.Unmarshal(c.client.Plain, &r.Metadata.Client); err != nil {
			return fmt.Errorf("client: %w", err)
		}
	}
	return nil
}
