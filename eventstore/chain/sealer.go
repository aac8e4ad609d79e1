package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/wait"
)

const (
	blockSize    = 1024                   // events in a full block
	sealInterval = time.Second            // from one block that is not full to the next
	lookInterval = 250 * time.Millisecond // how often a sealer looks whether a block is due
	sealTimeout  = time.Minute            // for one block
	errorPause   = 2 * time.Second
)

// ErrRewritten says that a block this process has seen is gone or another one now.
var ErrRewritten = errors.New("the chain was rewritten while this process was running")

// Sealer lengthens the chain as the log grows. Any number of nodes may run one; one of them works at a time.
type Sealer struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	signer  *Signer
	publish func(Head)
	seen    block // the newest block this process knows of

	size     int64 // blockSize and sealInterval, but for tests
	interval time.Duration
}

// NewSealer returns a sealer of the log in the pool's database. It hands signed heads to publish: about one a second
// while the log grows, always the newest, which vouches for all before it.
func NewSealer(pool *pgxpool.Pool, log *slog.Logger, signer *Signer, publish func(Head)) *Sealer {
	return &Sealer{pool: pool, log: log, signer: signer, publish: publish, size: blockSize, interval: sealInterval}
}

// Run seals until ctx ends, whatever fails.
func (s *Sealer) Run(ctx context.Context) error {
	var newest *Head
	published := time.Now()
	for ctx.Err() == nil {
		head, err := s.Seal(ctx)
		pause := lookInterval
		switch {
		case err != nil && ctx.Err() == nil:
			s.report(err)
			pause = errorPause
		case head != nil:
			newest = head
			if head.Events == s.size {
				pause = 0 // there may be more
			}
		}
		if newest != nil && (pause > 0 || time.Since(published) > s.interval) {
			s.publish(*newest)
			newest, published = nil, time.Now()
		}
		wait.For(ctx, pause)
	}
	return nil
}

func (s *Sealer) report(err error) {
	if postgres.IsConnectionLost(err) {
		s.log.Warn("sealer waits for the database", "error", err)
		return
	}
	s.log.Error("events are not sealed", "error", err)
}

// Seal seals one block and returns its head: nil where none is due, or another sealer is at work. It is one transaction,
// so a sealer that dies leaves nothing behind; its lock ends with it.
func (s *Sealer) Seal(ctx context.Context) (head *Head, err error) {
	ctx, cancel := context.WithTimeout(ctx, sealTimeout)
	defer cancel()
	var b block
	var sealed bool
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		b, sealed, err = s.seal(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if !sealed {
		return nil, nil
	}
	b.entries, s.seen = nil, b
	h := s.signer.sign(b)
	return &h, nil
}

func (s *Sealer) seal(ctx context.Context, tx pgx.Tx) (b block, sealed bool, err error) {
	const lock = `SELECT pg_try_advisory_xact_lock($1)`
	if err := tx.QueryRow(ctx, lock, lockKey).Scan(&sealed); err != nil || !sealed {
		return b, false, err
	}
	last, found, err := newest(ctx, tx)
	if err != nil {
		return b, false, err
	}
	if err := s.witness(ctx, tx, last); err != nil {
		return b, false, err
	}
	var horizon int64
	if b, horizon, err = next(ctx, tx, last, found); err != nil {
		return b, false, err
	}
	age := b.sealedAt - last.sealedAt // below zero where the clock was set back
	young := found && age >= 0 && age < s.interval.Microseconds()
	if horizon <= b.after || young && horizon-b.after < s.size {
		return b, false, nil
	}
	if err := b.fill(ctx, tx, horizon, s.size); err != nil || b.events == 0 {
		return b, false, err
	}
	sealed, err = b.insert(ctx, tx)
	return b, sealed, err
}

// witness holds the chain against the newest block this process knew of. It complains once, then goes by what is there.
func (s *Sealer) witness(ctx context.Context, tx pgx.Tx, last block) error {
	seen := s.seen
	s.seen = last
	if seen.number == 0 || seen.number == last.number && bytes.Equal(seen.head, last.head) {
		return nil
	}
	same, err := headers(ctx, tx, seen.number, 1)
	if err != nil {
		return err
	}
	if len(same) == 0 || same[0].number != seen.number || !bytes.Equal(same[0].head, seen.head) {
		return fmt.Errorf("%w: block %d had the head %x", ErrRewritten, seen.number, seen.head)
	}
	return nil
}

// next returns the block to seal after the last one, still empty, and how far it may go. The events are read by another
// statement, later, as the argument in the log's doc.go needs.
func next(ctx context.Context, tx pgx.Tx, last block, found bool) (b block, horizon int64, err error) {
	chains, err := links(ctx, tx)
	if err == nil && len(chains) == 0 {
		if _, err = start(ctx, tx, firstReason); err == nil {
			chains, err = links(ctx, tx)
		}
	}
	if err != nil {
		return b, 0, err
	}
	growing := chains[len(chains)-1]
	b = block{number: last.number + 1, chain: growing.id, after: last.last, previous: last.head}
	if !found || last.chain != growing.id {
		b.after, b.previous = growing.after, growing.genesis()
	}
	var now []byte
	if err = tx.QueryRow(ctx, `SELECT atlas.horizon(), timestamptz_send(clock_timestamp())`).Scan(&horizon, &now); err != nil {
		return b, 0, fmt.Errorf("read horizon: %w", err)
	}
	b.sealedAt, err = parseMicros(now)
	return b, horizon, err
}

// fill reads the events after the block's start and takes them up. The block ends with the last event seen: positions
// above it that nobody holds may be handed out again after a crash of the server.
func (b *block) fill(ctx context.Context, tx pgx.Tx, horizon, limit int64) error {
	rows, err := tx.Query(ctx, eventsQuery+` LIMIT $3`, b.after, horizon, limit)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var e event
	for rows.Next() {
		if err := e.scan(rows); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		b.entries = entryOf(&e).append(b.entries)
		b.last = e.position
		b.events++
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	b.head = b.computeHead()
	return nil
}

// insert adds the block to its chain, unless another sealer has been faster.
func (b *block) insert(ctx context.Context, tx pgx.Tx) (added bool, err error) {
	const q = `SELECT atlas.seal_block($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	err = tx.QueryRow(ctx, q, b.number, b.chain, b.after, b.last, b.events, toTime(b.sealedAt), b.previous, b.entries, b.head).Scan(&added)
	if err != nil {
		return false, fmt.Errorf("insert block %d: %w", b.number, err)
	}
	return added, nil
}
