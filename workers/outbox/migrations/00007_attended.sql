-- +goose Up

-- When a process last said that it works for the group and waits for something else: such a group lives, though it does not
-- move and has no row locked.
ALTER TABLE outbox.observed_groups ADD COLUMN attended_at timestamptz;
