package transfer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/fault"
)

// ErrNotEmpty says that a log has events already, so a file could not keep its positions in it.
var ErrNotEmpty = errors.New("the log is not empty: append to it on purpose, and its events get new positions")

// chunkEvents is how many events a transaction imports, unless an import says otherwise.
const chunkEvents = 5000

// Import says how to bring a file into a log.
type Import struct {
	Pool     *pgxpool.Pool
	Keys     *sealing.Keys
	Append   bool                    // into a log that has events; positions are drawn anew
	Chunk    int                     // events per transaction; 0 for 5,000
	Progress func(done, total int64) // in events; may be nil

	committed func(chunk int) // for tests
}

// Imported is what became of an import.
type Imported struct {
	Events  int64     // imported now
	Resumed int64     // imported before, by a run that did not come to its end
	Last    int64     // the last event's position in this log
	Before  time.Time // when the file was imported already; then nothing was done
}

// run is an import under way.
type run struct {
	Import
	conn     *pgxpool.Conn
	contents Contents
	keep     bool // positions
	done     int64
	place    spot
	last     int64
	parts    map[int64]bool // that are known to be there
}

// Run checks the whole file, then imports it. Given a file that an earlier run did not finish, it goes on after the last
// chunk that is in the log.
func (im Import) Run(ctx context.Context, file io.ReadSeeker) (Imported, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Imported{}, err
	}
	contents, err := Check(file, im.Keys)
	if err != nil {
		return Imported{}, err
	}
	if im.Chunk <= 0 {
		im.Chunk = chunkEvents
	}
	conn, err := im.Pool.Acquire(ctx)
	if err != nil {
		return Imported{}, err
	}
	defer conn.Release()
	r := &run{Import: im, conn: conn, contents: contents, place: contents.events, parts: map[int64]bool{}}
	before, err := r.begin(ctx)
	if err != nil {
		return Imported{}, fmt.Errorf("begin import: %w", err)
	}
	resumed := r.done
	if before != nil {
		return Imported{Resumed: resumed, Last: r.last, Before: before.UTC()}, nil
	}
	if err := r.importAll(ctx, file); err != nil {
		return Imported{Events: r.done - resumed, Resumed: resumed, Last: r.last}, err
	}
	return Imported{Events: r.done - resumed, Resumed: resumed, Last: r.last}, nil
}

func (r *run) importAll(ctx context.Context, file io.ReadSeeker) error {
	if r.done == 0 {
		if err := r.takeKeys(ctx, file); err != nil {
			return err
		}
	}
	g, reading := errgroup.WithContext(ctx)
	chunks := make(chan *chunk, 1)
	g.Go(func() error { return readChunks(reading, file, r.place, r.Chunk, chunks) })
	g.Go(func() error {
		for n := 1; ; n++ {
			c, more := <-chunks
			if !more {
				return nil
			}
			if err := r.take(reading, c); err != nil {
				return err
			}
			if r.committed != nil {
				r.committed(n)
			}
			if r.Progress != nil {
				r.Progress(r.done, r.contents.Trailer.Events)
			}
		}
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("import stopped after %d of %d events, the last chunk whole; the same command goes on from there: %w",
			r.done, r.contents.Trailer.Events, err)
	}
	if r.done != r.contents.Trailer.Events {
		return errors.New("the file changed while it was imported")
	}
	return r.finish(ctx)
}

// begin finds how far the file was imported before, or makes ready for it. It returns when an earlier run has finished.
func (r *run) begin(ctx context.Context) (before *time.Time, err error) {
	const q = `
		SELECT digest = $1, keeps_positions, done, line, byte_offset, last_position, finished_at
		FROM atlas.imports WHERE digest = $1 OR finished_at IS NULL ORDER BY finished_at IS NOT NULL, digest = $1 DESC LIMIT 1`
	var same bool
	var place spot
	err = r.conn.QueryRow(ctx, q, r.contents.Digest).Scan(&same, &r.keep, &r.done, &place.line, &place.offset, &r.last, &before)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, r.beginAnew(ctx)
	case err != nil:
		return nil, err
	case !same:
		return nil, errors.New("the import of another file has not finished: give that file again, or abandon it")
	case before != nil && r.done < r.contents.Trailer.Events:
		return nil, fmt.Errorf("the import of this file was abandoned on %s", before.UTC().Format(time.DateTime))
	case before != nil:
		return before, nil
	}
	if r.done > 0 {
		r.place = place
	}
	return nil, r.release(ctx)
}

func (r *run) beginAnew(ctx context.Context) error {
	const insert = `INSERT INTO atlas.imports (digest, keeps_positions, events) VALUES ($1, $2, $3)`
	r.keep = !r.Append
	if r.keep && r.contents.Severed > 0 {
		return &LineError{r.contents.Severed, fmt.Errorf("the stream begins before position %d, where the file does: "+
			"it can only be appended to a log that has the events before", r.contents.Header.From)}
	}
	err := pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if r.keep {
			if err := r.close(ctx, tx); err != nil {
				return err
			}
		}
		if _, err := chain.StartIn(ctx, tx, fmt.Sprintf("import of the file with SHA-256 %x", r.contents.Digest)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, insert, r.contents.Digest, r.keep, r.contents.Trailer.Events)
		return err
	})
	if hasState(err, "23505") {
		return errors.New("another import has just begun")
	}
	return err
}

// close closes an empty log to all other appends. The lock waits for those that are open, and no reader waits for it.
func (r *run) close(ctx context.Context, tx pgx.Tx) error {
	const lock = `SET LOCAL lock_timeout = '10s'; LOCK TABLE atlas.events IN SHARE ROW EXCLUSIVE MODE`
	const look = `
		SELECT EXISTS (SELECT FROM atlas.events) OR EXISTS (SELECT FROM atlas.streams) OR EXISTS (SELECT FROM atlas.detached_parts)`
	if _, err := tx.Exec(ctx, lock); err != nil {
		return err
	}
	var used bool
	if err := tx.QueryRow(ctx, look).Scan(&used); err != nil {
		return err
	}
	if used {
		return ErrNotEmpty
	}
	_, err := tx.Exec(ctx, `ALTER TABLE atlas.events ENABLE TRIGGER events_closed_for_import`)
	return err
}

// takeKeys takes over the keys before the events that are sealed with them.
func (r *run) takeKeys(ctx context.Context, file io.ReadSeeker) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	l := newLines(file)
	var batch []sealing.StoredKey
	for l.number < r.contents.events.line {
		line, err := l.next()
		if err != nil {
			return err
		}
		x, err := parseExtra(line)
		if err != nil {
			return l.fault(err)
		}
		if x.Secret != nil {
			if err := r.Keys.TakeSecret(ctx, *x.Secret, r.keep); err != nil {
				return l.fault(err)
			}
		}
		if x.Key != nil {
			batch = append(batch, *x.Key)
		}
		if len(batch) == pageSize || l.number == r.contents.events.line {
			if err := r.Keys.Take(ctx, batch); err != nil {
				return l.fault(err)
			}
			batch = batch[:0]
		}
	}
	return nil
}

// take imports a chunk: all of it or nothing.
func (r *run) take(ctx context.Context, c *chunk) error {
	if err := r.ensureParts(ctx, c); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		last := c.last
		err := pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
			last, err = r.insert(ctx, tx, c)
			return err
		})
		if hasState(err, "40P01") && attempt < 5 {
			continue // a deadlock with an append: nothing was written
		}
		if err != nil {
			return err
		}
		r.done, r.place, r.last = r.done+c.events(), c.upto, last
		return r.release(ctx)
	}
}

// insert inserts a chunk in the order every append keeps, and returns its last position in this log.
func (r *run) insert(ctx context.Context, tx pgx.Tx, c *chunk) (last int64, err error) {
	const settings = `SELECT set_config('atlas.importing', 'yes', true), set_config('idle_in_transaction_session_timeout', '60s', true)`
	if _, err := tx.Exec(ctx, settings); err != nil {
		return 0, err
	}
	if err := r.advance(ctx, tx, c); err != nil {
		return 0, err
	}
	if err := r.writeStreams(ctx, tx, c); err != nil {
		return 0, err
	}
	last = c.last
	if !r.keep {
		if last, err = r.draw(ctx, tx, c); err != nil {
			return 0, err
		}
	}
	const in = `COPY atlas.events (` + eventColumns + `) FROM STDIN BINARY`
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, c.rows.stream(), in); err != nil {
		return 0, fmt.Errorf("lines %d to %d: %w", c.from.line+1, c.upto.line, err)
	}
	return last, nil
}

// advance writes down that the chunk is imported. Where two processes import one file, the second waits here and is
// refused.
func (r *run) advance(ctx context.Context, tx pgx.Tx, c *chunk) error {
	const q = `
		UPDATE atlas.imports
		SET done = done + $2, line = $3, byte_offset = $4, last_position = $5
		WHERE digest = $1 AND done = $6 AND finished_at IS NULL`
	last := int64(0) // matters only where positions are kept
	if r.keep {
		last = c.last
	}
	tag, err := tx.Exec(ctx, q, r.contents.Digest, c.events(), c.upto.line, c.upto.offset, last, r.done)
	if err == nil && tag.RowsAffected() != 1 {
		err = errors.New("another process imports this file, or it was abandoned")
	}
	return err
}

// release lets readers come to the end of what is imported, where no fence does so.
func (r *run) release(ctx context.Context) error {
	if !r.keep || r.last == 0 {
		return nil
	}
	const q = `SELECT setval('atlas.events_position', greatest(last_value, $1)) FROM atlas.events_position`
	_, err := r.conn.Exec(ctx, q, r.last)
	return err
}

// ensureParts makes the parts of the log that a chunk needs.
func (r *run) ensureParts(ctx context.Context, c *chunk) error {
	const size = 33554432
	first, last := r.last/size, r.last/size
	if r.keep {
		first, last = c.first/size, c.last/size
	}
	for n := first; n <= last; n++ {
		if r.parts[n] {
			continue
		}
		if err := r.makePart(ctx, n); err != nil {
			return fmt.Errorf("make part %d of the log: %w", n, err)
		}
		r.parts[n] = true
	}
	return nil
}

// makePart makes a part by its number, or, where positions are drawn, the next ones.
func (r *run) makePart(ctx context.Context, n int64) error {
	if !r.keep {
		_, err := r.conn.Exec(ctx, `SELECT atlas.ensure_parts()`)
		return err
	}
	return pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(atlas.lock_key('parts', 0))`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT atlas.make_part($1)`, n)
		return err
	})
}

// finish opens the log again. The sequence moves to where the exported log was final, so that checkpoints taken there
// are not ahead of this one.
func (r *run) finish(ctx context.Context) error {
	const done = `UPDATE atlas.imports SET finished_at = clock_timestamp() WHERE digest = $1`
	if r.keep {
		r.last = max(r.last, r.contents.Header.Upto)
		if err := r.release(ctx); err != nil {
			return err
		}
		r.last = r.contents.Last
	}
	return open(ctx, r.conn, done, r.contents.Digest)
}

// ErrNoImport says that there is nothing to abandon.
var ErrNoImport = fault.New(fault.NotFound, "import_not_unfinished", "no import is unfinished")

// Abandon gives an unfinished import up and opens the log again. What it had imported stays. Without one it is ErrNoImport.
func Abandon(ctx context.Context, pool *pgxpool.Pool) (digest string, err error) {
	const q = `SELECT digest FROM atlas.imports WHERE finished_at IS NULL`
	const done = `UPDATE atlas.imports SET finished_at = clock_timestamp() WHERE digest = $1 AND finished_at IS NULL`
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	var raw []byte
	if err := conn.QueryRow(ctx, q).Scan(&raw); errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNoImport
	} else if err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), open(ctx, conn, done, raw)
}

// open says that an import is over, and opens the log to all appends.
func open(ctx context.Context, conn *pgxpool.Conn, done string, digest []byte) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `ALTER TABLE atlas.events DISABLE TRIGGER events_closed_for_import`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, done, digest)
		return err
	})
}

// hasState says whether the server answered with the SQLSTATE.
func hasState(err error, state string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == state
}
