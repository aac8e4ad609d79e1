package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// block is one link of a chain, as it is stored. Times are microseconds since 2000-01-01 00:00 UTC.
type block struct {
	number      int64
	chain       uuid.UUID
	after, last int64 // it vouches for the positions after the one, up to the other
	events      int64
	sealedAt    int64
	previous    []byte
	entries     []byte
	head        []byte
}

// computeHead returns what the block's head must be.
func (b *block) computeHead() []byte {
	root := sha256.Sum256(b.entries)
	content := append([]byte("atlas block 1\x00"), b.chain[:]...)
	for _, n := range []int64{b.number, b.after, b.last, b.events, b.sealedAt} {
		content = appendInt(content, n)
	}
	content = append(content, root[:]...)
	head := sha256.Sum256(append(bytes.Clone(b.previous), content...))
	return head[:]
}

const blockColumns = `number, chain, after_position, last_position, events, timestamptz_send(sealed_at), previous, head`

// blocks returns up to limit blocks from a number on, with their entries.
func blocks(ctx context.Context, q querier, from int64, limit int) ([]block, error) {
	const sql = `SELECT ` + blockColumns + `, entries FROM atlas.chain_blocks WHERE number >= $1 ORDER BY number LIMIT $2`
	return collect(ctx, q, sql, from, limit)
}

// headers returns up to limit blocks from a number on, without their entries.
func headers(ctx context.Context, q querier, from int64, limit int) ([]block, error) {
	const sql = `SELECT ` + blockColumns + `, ''::bytea FROM atlas.chain_blocks WHERE number >= $1 ORDER BY number LIMIT $2`
	return collect(ctx, q, sql, from, limit)
}

// newest returns the last block, without its entries; found is false where there is none.
func newest(ctx context.Context, q querier) (b block, found bool, err error) {
	const sql = `SELECT ` + blockColumns + `, ''::bytea FROM atlas.chain_blocks ORDER BY number DESC LIMIT 1`
	all, err := collect(ctx, q, sql)
	if err != nil || len(all) == 0 {
		return block{}, false, err
	}
	return all[0], true, nil
}

func collect(ctx context.Context, q querier, sql string, args ...any) ([]block, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b block, err error) {
		var at []byte
		err = row.Scan(&b.number, &b.chain, &b.after, &b.last, &b.events, &at, &b.previous, &b.head, &b.entries)
		if err == nil {
			b.sealedAt, err = parseMicros(at)
		}
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", err)
	}
	return all, nil
}

// epoch is where PostgreSQL's times begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func toTime(micros int64) time.Time { return time.UnixMicro(epoch.UnixMicro() + micros).UTC() }

func toMicros(t time.Time) int64 { return t.UnixMicro() - epoch.UnixMicro() }

func parseMicros(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, errors.New("a time has not 8 bytes")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
