-- +goose Up

-- The chains of the log, oldest first: one begins with the first block ever sealed, and another with each import or
-- restore. The newest is the one that grows.
CREATE TABLE atlas.chains (
    number         bigint      NOT NULL,
    id             uuid        NOT NULL,
    after_position bigint      NOT NULL,
    previous       bytea       NOT NULL,
    started_at     timestamptz NOT NULL,
    reason         text        NOT NULL,
    CONSTRAINT chains_pkey PRIMARY KEY (number),
    CONSTRAINT chains_id_key UNIQUE (id)
);

COMMENT ON COLUMN atlas.chains.previous IS 'head of the block before it; empty where there was none';

-- The blocks, in the order of the log. A block vouches for the events after after_position up to last_position, and that
-- there are no others; the first begins after -1, since 0 is a position too. doc.go says what its bytes mean.
CREATE TABLE atlas.chain_blocks (
    number         bigint      NOT NULL,
    chain          uuid        NOT NULL,
    after_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    events         bigint      NOT NULL,
    sealed_at      timestamptz NOT NULL,
    previous       bytea       NOT NULL,
    entries        bytea       NOT NULL,
    head           bytea       NOT NULL,
    CONSTRAINT chain_blocks_pkey PRIMARY KEY (number),
    CONSTRAINT chain_blocks_chain_fkey FOREIGN KEY (chain) REFERENCES atlas.chains (id),
    CONSTRAINT chain_blocks_grow CHECK (last_position > after_position AND events > 0)
);

-- Digests do not compress: do not try.
ALTER TABLE atlas.chain_blocks ALTER COLUMN entries SET STORAGE EXTERNAL;

-- +goose StatementBegin
CREATE FUNCTION atlas.refuse_chain_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'AT002',
        MESSAGE = format('%s on the chain of the event log is refused: it only ever grows', TG_OP);
END
$$;
-- +goose StatementEnd

CREATE TRIGGER chains_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON atlas.chains
    FOR EACH STATEMENT EXECUTE FUNCTION atlas.refuse_chain_change();
CREATE TRIGGER chain_blocks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON atlas.chain_blocks
    FOR EACH STATEMENT EXECUTE FUNCTION atlas.refuse_chain_change();

-- Begins a chain after the last block there is. The caller holds the sealers' lock.
-- +goose StatementBegin
CREATE FUNCTION atlas.start_chain(chain_id uuid, chain_reason text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO atlas.chains (number, id, after_position, previous, started_at, reason)
    SELECT
        coalesce((SELECT max(c.number) FROM atlas.chains c), 0) + 1,
        chain_id, coalesce(b.last_position, -1), coalesce(b.head, ''), clock_timestamp(), chain_reason
    FROM (SELECT) one LEFT JOIN (
        SELECT last_position, head FROM atlas.chain_blocks ORDER BY number DESC LIMIT 1
    ) b ON true
$$;
-- +goose StatementEnd

-- Adds a block, if it is the next one: false tells that another sealer was faster. The lock makes that rare; this
-- and the primary key make it harmless.
-- +goose StatementBegin
CREATE FUNCTION atlas.seal_block(
    block_number bigint,
    block_chain uuid,
    block_after bigint,
    block_last bigint,
    block_events bigint,
    block_sealed_at timestamptz,
    block_previous bytea,
    block_entries bytea,
    block_head bytea
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO atlas.chain_blocks (number, chain, after_position, last_position, events, sealed_at, previous, entries, head)
    SELECT block_number, block_chain, block_after, block_last, block_events, block_sealed_at, block_previous,
        block_entries, block_head
    WHERE block_number = coalesce((SELECT max(b.number) FROM atlas.chain_blocks b), 0) + 1
        AND block_after = coalesce((SELECT b.last_position FROM atlas.chain_blocks b WHERE b.number = block_number - 1), -1)
    ON CONFLICT (number) DO NOTHING;
    RETURN FOUND;
END
$$;
-- +goose StatementEnd
