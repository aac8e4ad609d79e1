package chain

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pageBlocks is how many blocks are read at a time, and their events after them: about 4 MB.
const pageBlocks = 32

// Options say what to verify.
type Options struct {
	From     int64                   // the first block; those before it are believed
	Progress func(done, total int64) // hears how many of the events to verify are behind it
}

// Verify holds the log against its chain, block by block. It takes the blocks that are there when it starts; writers are
// not held up, and no transaction stays open. What is wrong is in the report; the error says that it could not be read.
func Verify(ctx context.Context, pool *pgxpool.Pool, o Options) (*Report, error) {
	v := &verifier{q: pool, report: &Report{}, progress: o.Progress, gaps: map[Missing]int{}}
	if err := v.prepare(ctx, max(o.From, 1)); err != nil {
		return nil, err
	}
	for v.next <= v.end.number {
		page, err := blocks(ctx, pool, v.next, pageBlocks)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		if err := v.page(ctx, page); err != nil {
			return nil, err
		}
		v.next = page[len(page)-1].number + 1
	}
	return v.report, v.unsealed(ctx)
}

// verifier is a verification under way.
type verifier struct {
	q           *pgxpool.Pool
	report      *Report
	progress    func(done, total int64)
	done, total int64
	chains      []link
	parts       []span
	gaps        map[Missing]int // where in the report they are
	next        int64           // the block to read next
	before, end block           // the block verified last; the last one there is. Zero: none
}

func (v *verifier) prepare(ctx context.Context, from int64) (err error) {
	if v.end, _, err = newest(ctx, v.q); err != nil {
		return err
	}
	if v.chains, err = links(ctx, v.q); err != nil {
		return err
	}
	for _, l := range v.chains {
		v.report.Chains = append(v.report.Chains, ChainReport{ID: l.id.String(), Reason: l.reason, Since: toTime(l.startedAt).Format(time.RFC3339)})
	}
	if v.parts, err = attached(ctx, v.q); err != nil {
		return err
	}
	if v.end.number == 0 {
		v.end.last = -1
	}
	v.next, v.before.last, v.report.Sealed = from, -1, v.end.last
	if from > 1 {
		before, err := headers(ctx, v.q, from-1, 1)
		if err != nil {
			return err
		}
		if len(before) == 0 || before[0].number != from-1 {
			return fmt.Errorf("there is no block %d to start after", from-1)
		}
		v.before = before[0]
	}
	const q = `SELECT coalesce(sum(events), 0)::bigint FROM atlas.chain_blocks WHERE number >= $1`
	if err := v.q.QueryRow(ctx, q, from).Scan(&v.total); err != nil {
		return fmt.Errorf("count sealed events: %w", err)
	}
	return nil
}

// page verifies some blocks and reads the events of all of them at once.
func (v *verifier) page(ctx context.Context, page []block) error {
	first, last := page[0].after, page[0].last
	for _, b := range page {
		first, last = min(first, b.after), max(last, b.last)
	}
	rows, err := v.q.Query(ctx, eventsQuery, first, last)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	stored := &cursor{rows: rows}
	if err := stored.advance(); err != nil {
		return err
	}
	for i := range page {
		if page[i].number > v.end.number {
			break
		}
		v.link(&page[i])
		if err := v.content(&page[i], stored); err != nil {
			return err
		}
		v.before = page[i]
		v.before.entries = nil
		if v.progress != nil {
			v.done += page[i].events
			v.progress(v.done, v.total)
		}
	}
	rows.Close()
	return rows.Err()
}

// link holds a block against the one before it, and against itself.
func (v *verifier) link(b *block) {
	v.report.Blocks++
	expected := v.before.number + 1
	if b.number != expected {
		v.report.add(Finding{Kind: BlockMissing, Block: expected, Detail: fmt.Sprintf(
			"blocks %d to %d are gone; nothing vouches for positions %d to %d", expected, b.number-1, v.before.last+1, b.after)})
	}
	if !bytes.Equal(b.computeHead(), b.head) {
		v.report.add(Finding{Kind: BlockChanged, Block: b.number, Detail: "its content does not give its head"})
	}
	at := v.chainOf(b.chain)
	switch {
	case at < 0:
		v.report.add(Finding{Kind: ChainUnknown, Block: b.number, Detail: "no chain " + b.chain.String() + " was ever started"})
		return
	case b.number != expected:
	case b.after != v.before.last:
		v.report.add(Finding{Kind: LinkBroken, Block: b.number, Detail: fmt.Sprintf(
			"it begins after position %d, and the block before it ends with %d", b.after, v.before.last)})
	case b.chain == v.before.chain && !bytes.Equal(b.previous, v.before.head):
		v.report.add(Finding{Kind: LinkBroken, Block: b.number, Detail: fmt.Sprintf(
			"it follows a block with the head %x, and the block before it has %x", b.previous, v.before.head)})
	case b.chain != v.before.chain && !v.begins(b, v.chains[at]):
		v.report.add(Finding{Kind: LinkBroken, Block: b.number, Detail: "it is not the first of chain " + b.chain.String() + ", which begins with it"})
	}
	v.report.Chains[at].Blocks++
}

// begins says whether the block is a first one of the chain.
func (v *verifier) begins(b *block, l link) bool {
	return bytes.Equal(b.previous, l.genesis()) && l.after == v.before.last && bytes.Equal(l.previous, v.before.head)
}

func (v *verifier) chainOf(id uuid.UUID) int {
	for i, l := range v.chains {
		if l.id == id {
			return i
		}
	}
	return -1
}

// cursor goes through the stored events.
type cursor struct {
	rows  pgx.Rows
	event event
	ended bool
}

// advance reads the next event.
func (c *cursor) advance() error {
	if !c.rows.Next() {
		c.ended = true
		return wrap("read events", c.rows.Err())
	}
	return wrap("read events", c.event.scan(c.rows))
}

// within says whether the cursor stands at an event up to the position.
func (c *cursor) within(position int64) bool { return !c.ended && c.event.position <= position }

// content goes through what the block vouches for and what the log holds, side by side.
func (v *verifier) content(b *block, stored *cursor) error {
	for stored.within(b.after) { // in no block: the link before it tells
		if err := stored.advance(); err != nil {
			return err
		}
	}
	entries, err := parseEntries(b.entries)
	if err == nil && int64(len(entries)) != b.events {
		err = fmt.Errorf("%w: %d, not %d", errEntries, len(entries), b.events)
	}
	if err != nil {
		v.report.add(Finding{Kind: BlockChanged, Block: b.number, Detail: err.Error()})
		for stored.within(b.last) {
			if err := stored.advance(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range entries {
		if err := v.upTo(e.position-1, b, stored); err != nil {
			return err
		}
		if !stored.within(e.position) {
			v.removed(b, e)
			continue
		}
		v.compare(b, e, &stored.event)
		if err := stored.advance(); err != nil {
			return err
		}
	}
	return v.upTo(b.last, b, stored)
}

// upTo takes the stored events up to a position for inserted ones.
func (v *verifier) upTo(position int64, b *block, stored *cursor) error {
	for stored.within(position) {
		e := &stored.event
		v.report.add(Finding{Kind: EventInserted, Block: b.number, Position: e.position, Stream: string(e.stream), Version: e.version,
			Detail: fmt.Sprintf("of type %q; it was not there when the block was sealed at %s", e.fields[1], toTime(b.sealedAt).Format(time.RFC3339))})
		if err := stored.advance(); err != nil {
			return err
		}
	}
	return nil
}

// removed reports an event that is not there, unless its part is not attached.
func (v *verifier) removed(b *block, e entry) {
	gap, unattached := lost(v.parts, e.position)
	if !unattached {
		v.report.add(Finding{Kind: EventRemoved, Block: b.number, Position: e.position, Stream: e.stream, Version: e.version,
			Detail: "it was there when the block was sealed at " + toTime(b.sealedAt).Format(time.RFC3339)})
		return
	}
	at, known := v.gaps[gap]
	if !known {
		at = len(v.report.Unattached)
		v.gaps[gap] = at
		v.report.Unattached = append(v.report.Unattached, gap)
	}
	v.report.Unattached[at].Events++
}

// compare holds an event against its digest, and says what differs as far as what is kept can tell.
func (v *verifier) compare(b *block, want entry, got *event) {
	v.report.Events++
	if got.digest() == want.digest {
		return
	}
	var differs []string
	if string(got.stream) != want.stream {
		differs = append(differs, fmt.Sprintf("stream is %q now", got.stream))
	}
	if got.version != want.version {
		differs = append(differs, fmt.Sprintf("version is %d now", got.version))
	}
	for _, name := range got.hints().differ(want.hints) {
		differs = append(differs, name+" differs")
	}
	v.report.add(Finding{Kind: EventChanged, Block: b.number, Position: want.position, Stream: want.stream, Version: want.version,
		Detail: cmp.Or(strings.Join(differs, ", "), "its digest differs")})
}

// unsealed counts what lies beyond the last block.
func (v *verifier) unsealed(ctx context.Context) error {
	const q = `
		SELECT count(*), coalesce(min(position), 0), coalesce(max(position), 0)
		FROM atlas.events
		WHERE position > $1`
	u := &v.report.Unsealed
	return wrap("count unsealed events", v.q.QueryRow(ctx, q, v.end.last).Scan(&u.Events, &u.First, &u.Last))
}

// wrap says what failed, if anything did.
func wrap(act string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}
