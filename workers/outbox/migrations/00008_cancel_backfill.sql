-- +goose Up

-- Behind which position a backfill's messages are owed, whatever becomes of it: it took them out, or the projection has left
-- them to it since. A backfill that is cancelled goes on from there. Null of those that began before there was the column.
ALTER TABLE outbox.backfills ADD COLUMN owed bigint, ADD COLUMN cancelled_at timestamptz;
