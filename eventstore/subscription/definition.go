package subscription

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed grants.sql
var grants string

// Migrations returns the tables and functions of subscriptions. The log's come before them.
func Migrations() postgres.MigrationSet {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return postgres.MigrationSet{Name: "subscription", FS: sub, Grants: grants}
}

// What can be wrong with a subscription that somebody names or makes.
var (
	ErrNotFound = fault.New(fault.NotFound, "subscription_not_found", "there is no subscription of that name")
	ErrChanged  = fault.New(fault.Conflict, "subscription_changed",
		"a subscription of that name has another filter; a filter is fixed when it is made, so take another name")
	ErrDefinition = fault.New(fault.Invalid, "subscription_invalid",
		"a subscription is named by up to 100 lower-case letters, digits and . _ - : /, and starts at a position that is there")
)

// Log is the log as subscriptions work on it. It is safe for concurrent use.
type Log struct {
	pool  *pgxpool.Pool
	store *eventstore.Store
	tail  *eventstore.Tail
	log   *slog.Logger

	maxQueued int // streams of a queue that may wait
	leases    *rounds[leaseKey, *leaseCall]
	answers   *rounds[answerKey, *answerCall]

	mu      sync.Mutex
	members map[*member]struct{} // that run in this process
	feeders map[string]*feeder   // of queues that somebody asked for here
}

// New returns subscriptions on the pool's database, which must be migrated. The tail must be running where groups are
// consumed; it may be nil where they are only looked after.
func New(pool *pgxpool.Pool, store *eventstore.Store, tail *eventstore.Tail, log *slog.Logger) *Log {
	l := &Log{
		pool: pool, store: store, tail: tail, log: log, maxQueued: maxQueued,
		members: map[*member]struct{}{}, feeders: map[string]*feeder{},
	}
	l.leases = newRounds(func(c *leaseCall) int { return c.most }, l.leaseRound)
	l.answers = newRounds(func(c *answerCall) int { return len(c.answers) }, l.answerRound)
	return l
}

// InHand returns how many messages this process has in hand, by group.
func (l *Log) InHand() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := map[string]int{}
	for m := range l.members {
		count[m.desk.group] += m.taken()
	}
	return count
}

// enlist counts a member among those that run in this process until it calls what is returned.
func (l *Log) enlist(m *member) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[m] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.members, m)
	}
}

// Start is where a new group begins.
type Start struct {
	after int64
	now   bool
}

// Beginning is the first event there is. It is the zero value.
func Beginning() Start { return Start{} }

// Now is behind what is final when the group is made or reset.
func Now() Start { return Start{now: true} }

// After is the first event behind a position.
func After(position int64) Start { return Start{after: position} }

// Definition is what a group is. Its name is its place in the log, and its filter is fixed when it is made.
type Definition struct {
	Name   string
	Filter eventstore.Filter
	Start  Start // where it begins if it does not exist yet
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,99}$`)

func (d Definition) check() error {
	if !namePattern.MatchString(d.Name) || d.Start.after < 0 || len(d.Filter.Streams) > 0 {
		return fmt.Errorf("subscription %q: %w", d.Name, ErrDefinition)
	}
	return nil
}

// Create makes the group unless it is there. One that is there with another filter is ErrChanged, and a queue ErrTaken.
// Any number of nodes may call it at once.
func (l *Log) Create(ctx context.Context, d Definition) error {
	if err := l.checkDefinition(d); err != nil {
		return err
	}
	position, err := l.position(ctx, d.Start)
	if err != nil {
		return fmt.Errorf("subscription %s: %w", d.Name, err)
	}
	d.Filter = sorted(d.Filter)
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		_, err := makeGroup(ctx, tx, d, position, Slots)
		return err
	})
	if err != nil {
		return fmt.Errorf("make subscription %s: %w", d.Name, err)
	}
	have, err := l.builtIn(ctx, d.Name)
	if err != nil {
		return err
	}
	if !sameFilter(have, d.Filter) {
		return fmt.Errorf("subscription %s: %w", d.Name, ErrChanged)
	}
	return nil
}

// checkDefinition holds the definition against the rules and the vocabulary.
func (l *Log) checkDefinition(d Definition) error {
	if err := d.check(); err != nil {
		return err
	}
	for _, name := range d.Filter.Types {
		if _, err := l.store.Vocabulary().Named(name); err != nil {
			return fmt.Errorf("subscription %s: %w", d.Name, err)
		}
	}
	return nil
}

// makeGroup adds the group and its slots, and says false where there is one of the name.
func makeGroup(ctx context.Context, tx pgx.Tx, d Definition, position int64, count int) (made bool, err error) {
	const group = `
		INSERT INTO atlas.subscriptions (name, categories, types) VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`
	// Epochs begin where no group of the name had any before: a node may know the place of one that was deleted since.
	const slots = `
		INSERT INTO atlas.subscription_slots (subscription, slot, position, epoch)
		SELECT $1, n, $2, pg_current_xact_id()::text::bigint FROM generate_series(0, $3 - 1) AS n`
	tag, err := tx.Exec(ctx, group, d.Name, d.Filter.Categories, d.Filter.Types)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, slots, d.Name, position, count)
	return true, err
}

// position turns a start into a position up to which everything is left out.
func (l *Log) position(ctx context.Context, s Start) (int64, error) {
	if s.now {
		return l.store.Horizon(ctx)
	}
	if s.after == 0 {
		return 0, nil
	}
	end, err := l.store.End(ctx)
	if err != nil {
		return 0, err
	}
	if s.after > end {
		return 0, fmt.Errorf("%w: %d of %d", eventstore.ErrFuture, s.after, end)
	}
	return s.after, nil
}

// builtIn returns what a group lets through that processes work for.
func (l *Log) builtIn(ctx context.Context, name string) (f eventstore.Filter, err error) {
	const q = `
		SELECT categories, types, EXISTS (SELECT FROM atlas.subscription_queues k WHERE k.subscription = s.name)
		FROM atlas.subscriptions s WHERE name = $1`
	var queue bool
	err = l.pool.QueryRow(ctx, q, name).Scan(&f.Categories, &f.Types, &queue)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return f, fmt.Errorf("subscription %s: %w", name, ErrNotFound)
	case err != nil:
		return f, fmt.Errorf("read subscription %s: %w", name, err)
	case queue:
		return f, fmt.Errorf("subscription %s: %w", name, ErrTaken)
	}
	return f, nil
}

// sorted returns the filter in the form in which it is stored and compared.
func sorted(f eventstore.Filter) eventstore.Filter {
	tidy := func(list []string) []string {
		list = slices.Clone(list)
		slices.Sort(list)
		return append([]string{}, slices.Compact(list)...)
	}
	return eventstore.Filter{Categories: tidy(f.Categories), Types: tidy(f.Types)}
}
