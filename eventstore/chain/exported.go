package chain

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// VerifyHeads holds exported heads, one per line, against the chain, and adds what it finds to the report of Verify,
// which has made sure that each block gives its head. It finds what Verify cannot: a history that was rewritten together
// with its chain, or cut off together with its blocks.
func (r *Report) VerifyHeads(ctx context.Context, pool *pgxpool.Pool, exported io.Reader, trusted ...ed25519.PublicKey) error {
	const batch, longestLine = 1000, 1 << 20
	lines := bufio.NewScanner(exported)
	lines.Buffer(nil, longestLine)
	var heads []Head
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		h, found, err := ParseHead(lines.Bytes())
		if err != nil {
			return fmt.Errorf("exported heads, line %d: %w", n, err)
		}
		if !found {
			continue
		}
		if err := h.Check(trusted...); err != nil {
			r.add(Finding{Kind: HeadUntrusted, Block: h.Block, Detail: fmt.Sprintf("line %d: %s", n, err)})
			continue
		}
		if heads = append(heads, h); len(heads) == batch {
			if err := r.compareHeads(ctx, pool, heads); err != nil {
				return err
			}
			heads = heads[:0]
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("exported heads: %w", err)
	}
	return r.compareHeads(ctx, pool, heads)
}

func (r *Report) compareHeads(ctx context.Context, pool *pgxpool.Pool, heads []Head) error {
	const q = `SELECT number, chain, head FROM atlas.chain_blocks WHERE number = ANY ($1)`
	type stored struct {
		chain uuid.UUID
		head  []byte
	}
	var numbers []int64
	for _, h := range heads {
		numbers = append(numbers, h.Block)
	}
	rows, err := pool.Query(ctx, q, numbers)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	found := map[int64]stored{}
	var number int64
	var s stored
	if _, err := pgx.ForEachRow(rows, []any{&number, &s.chain, &s.head}, func() error {
		found[number] = s
		return nil
	}); err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	for _, h := range heads {
		r.Heads++
		s, there := found[h.Block]
		switch {
		case !there:
			r.add(Finding{Kind: HeadGone, Block: h.Block, Detail: fmt.Sprintf(
				"it was sealed up to position %d at %s, and is gone", h.Last, h.SealedAt.Format("2006-01-02 15:04:05Z"))})
		case s.chain != h.Chain || !bytes.Equal(s.head, h.Head):
			r.add(Finding{Kind: HeadDiffers, Block: h.Block, Detail: fmt.Sprintf(
				"its head was %x and is %x: what lies up to position %d was rewritten together with the chain", []byte(h.Head), s.head, h.Last)})
		}
	}
	return nil
}
