-- +goose Up

-- The topics some of whose contracts are written anew from an earlier position on: one backfill each, the last one. Until it is
-- done, it is the only one who writes messages of these contracts for events after since: the projection leaves them out. So
-- they come in the order of the log. Whoever writes here has the outbox's turn.
CREATE TABLE outbox.backfills (
    topic      text        COLLATE "C" NOT NULL,
    contracts  text[]      NOT NULL,
    since      bigint      NOT NULL,
    position   bigint      NOT NULL,
    written    bigint      NOT NULL DEFAULT 0,
    moved      bigint      NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at    timestamptz,
    CONSTRAINT backfills_pkey PRIMARY KEY (topic)
);

COMMENT ON COLUMN outbox.backfills.moved IS 'messages that nobody had read, taken out to come again in their place';
