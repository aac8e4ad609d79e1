package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-platform/atlas/internal/wait"
)

// errFar says that a generation is too far behind for the swap to bring it up.
var errFar = errors.New("the generation is too far behind")

// swap makes the generation the one that readers see, when it has come as far as the one they see now. It all happens in
// one transaction: the last events are folded while the live table stands still, the readers' view is turned, and the
// checkpoint with it. Where a reader of the view takes long, it is not waited for: the readers behind it would wait too.
func (b *rebuild) swap(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := b.follow(ctx)
		if err == nil {
			err = b.trySwap(ctx)
		}
		switch {
		case errors.Is(err, errFar):
			if err := b.comeCloser(ctx); err != nil {
				return err
			}
			continue
		case !isBusy(err):
			return overtaken(err)
		}
		if err := b.tell("waiting for a long reader", 0, 0, 0); err != nil {
			return err
		}
		if !wait.For(ctx, pause) {
			return ctx.Err()
		}
	}
}

// follow gives the generation to whoever runs the live one: from now on they move both in lockstep, so that the swap finds
// nothing left to fold. Where nobody runs it, the swap does what is left.
func (b *rebuild) follow(ctx context.Context) error {
	if b.gen.State == following {
		return nil
	}
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return b.gen.setState(ctx, tx, following, false) })
	if err != nil {
		return err
	}
	b.gen.State = following
	for deadline := time.Now().Add(followTime); time.Now().Before(deadline); wait.For(ctx, 20*time.Millisecond) {
		all, err := generations(ctx, b.pool, b.gen.ID, false)
		if err != nil {
			return err
		}
		now, _ := inState(all, live)
		mine, _ := inState(all, following)
		if err := b.tell("following", mine.Position, now.Position, 0); err != nil || mine.Position >= now.Position {
			return err
		}
	}
	return ctx.Err()
}

// followTime is how long a generation may take to come into lockstep; after that it is brought closer in bulk.
const followTime = 3 * time.Second

// comeCloser takes a generation that fell behind back and brings it up in bulk.
func (b *rebuild) comeCloser(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) (err error) {
		b.gen, err = b.gen.own(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	b.bulk = b.view.newBulk(false)
	return b.catchUp(ctx)
}

// isBusy says whether a lock was not to be had in the time it was given.
func isBusy(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01")
}

func (b *rebuild) trySwap(ctx context.Context) error {
	to := b.gen.Position
	err := pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		old, err := b.takeBoth(ctx, tx)
		if err != nil {
			return err
		}
		if err := requireKnown(ctx, tx, b.store.Vocabulary(), b.gen.ID); err != nil {
			return err
		}
		if to, err = b.lockstep(ctx, tx, old); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, swapPatience.Milliseconds())); err != nil {
			return err
		}
		if err := b.view.present(ctx, tx, b.gen.Number); err != nil {
			return err
		}
		if err := b.gen.inherit(ctx, tx, old); err != nil {
			return err
		}
		if err := old.setState(ctx, tx, retired, false); err != nil { // first: there is never more than one that is live
			return err
		}
		g := b.gen
		return g.setState(ctx, tx, live, to == g.Position)
	})
	if err == nil {
		b.gen.Position, b.gen.State = to, live
	}
	return err
}

// takeBoth locks the live generation and the one that follows it: from now on nobody moves either.
func (b *rebuild) takeBoth(ctx context.Context, tx pgx.Tx) (old generation, err error) {
	const settings = `SET LOCAL lock_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '10s'`
	if _, err := tx.Exec(ctx, settings); err != nil {
		return old, err
	}
	all, err := generations(ctx, tx, b.gen.ID, true)
	if err != nil {
		return old, err
	}
	old, there := inState(all, live)
	if !there {
		return old, fmt.Errorf("%s has no live generation", b.gen.ID)
	}
	for _, g := range all {
		if g.Number == b.gen.Number && g.State == b.gen.State {
			b.gen.Position, b.gen.Epoch = g.Position, g.Epoch // whoever moved it in lockstep
			return old, nil
		}
	}
	return old, errOvertaken
}

// lockstep folds what the live generation has and the new one has not, and returns how far the new one then is. A live
// generation that stands still may be behind; then readers see newer rows after the swap.
func (b *rebuild) lockstep(ctx context.Context, tx pgx.Tx, old generation) (at int64, err error) {
	if old.Position-b.gen.Position > nearEnough {
		return 0, errFar
	}
	for at = b.gen.Position; at < old.Position; {
		batch, err := b.store.ReadAll(ctx, at, old.Position, b.filter, batchSize)
		if err != nil {
			return 0, err
		}
		if err := b.takeParking(ctx, tx, batch); err != nil {
			return 0, err
		}
		at = batch.Upto
	}
	if at == b.gen.Position {
		return at, nil
	}
	g := b.gen // which stays as it is unless the transaction is committed
	return at, g.move(ctx, tx, at)
}

// tidy drops the retired generations but the newest. It gives up on one that somebody reads.
func tidy(ctx context.Context, tx pgx.Tx, id ID) error {
	all, err := generations(ctx, tx, id, false)
	if err != nil {
		return err
	}
	newest, there := inState(all, retired)
	for _, g := range all {
		if there && g.State == retired && g.Number != newest.Number {
			if err := g.drop(ctx, tx); err != nil {
				return err
			}
		}
	}
	return nil
}
