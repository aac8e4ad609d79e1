-- +goose Up

-- How far plain watermill-sql subscribers have read the log.
CREATE TABLE atlas.log_readers (
    topic          text        COLLATE "C" NOT NULL,
    consumer_group text        COLLATE "C" NOT NULL,
    position       bigint      NOT NULL DEFAULT 0,
    moved_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT log_readers_pkey PRIMARY KEY (topic, consumer_group)
) WITH (fillfactor = 50);

COMMENT ON COLUMN atlas.log_readers.position IS 'every event of the topic up to here is acked';
