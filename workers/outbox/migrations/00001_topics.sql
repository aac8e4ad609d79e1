-- +goose Up

-- The integration messages of Atlas, as watermill-sql lays them out: two tables per topic.
CREATE SCHEMA outbox;

-- Makes a topic: outbox.<topic> holds its messages, outbox.<topic>_offsets how far each consumer group has come.
--   * "offset" is the order of delivery. One projector at a time writes, and its turn ends with its commit, so a lower
--     offset is never seen after a higher one.
--   * A message's uuid is made from its event and its contract, so a replay finds what is there already.
--   * transaction_id and its index are for watermill-sql's stock subscribers, which order by it.
-- +goose StatementBegin
CREATE FUNCTION outbox.make_topic(topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('
        CREATE TABLE outbox.%I (
            "offset"       bigserial   NOT NULL,
            uuid           varchar(36) NOT NULL,
            created_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            payload        json        NOT NULL,
            metadata       json        NOT NULL,
            transaction_id xid8        NOT NULL,
            CONSTRAINT %I PRIMARY KEY ("offset"),
            CONSTRAINT %I UNIQUE (uuid)
        )', topic, topic || '_pkey', topic || '_uuid_key');
    EXECUTE format('CREATE INDEX %I ON outbox.%I (transaction_id, "offset")', topic || '_transaction', topic);
    EXECUTE format('
        CREATE TABLE outbox.%I (
            consumer_group                varchar(255) NOT NULL,
            offset_acked                  bigint,
            last_processed_transaction_id xid8         NOT NULL,
            CONSTRAINT %I PRIMARY KEY (consumer_group)
        )', topic || '_offsets', topic || '_offsets_pkey');
END
$$;
-- +goose StatementEnd
