-- +goose Up

-- What each command did, so that the same command again does nothing and gets the same answer.
-- Five parts of ten days each take turns. Before a part's turn comes round it is emptied, so an id is kept for at least
-- thirty days and expiry costs one TRUNCATE. Should nobody empty it, ids are kept longer, and nothing breaks.
-- An id is unique across parts because whoever looks for it holds its lock (00005_append.sql).
CREATE TABLE atlas.commands (
    part        smallint    NOT NULL,
    id          uuid        NOT NULL,
    fingerprint bytea       NOT NULL,
    outcome     jsonb       NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (id, part)
) PARTITION BY LIST (part);

CREATE TABLE atlas.commands_0 PARTITION OF atlas.commands FOR VALUES IN (0);
CREATE TABLE atlas.commands_1 PARTITION OF atlas.commands FOR VALUES IN (1);
CREATE TABLE atlas.commands_2 PARTITION OF atlas.commands FOR VALUES IN (2);
CREATE TABLE atlas.commands_3 PARTITION OF atlas.commands FOR VALUES IN (3);
CREATE TABLE atlas.commands_4 PARTITION OF atlas.commands FOR VALUES IN (4);

-- The part whose turn it is at a time.
-- +goose StatementBegin
CREATE FUNCTION atlas.command_part(at timestamptz) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (floor(extract(epoch FROM at) / 864000)::bigint % 5)::smallint
$$;
-- +goose StatementEnd

-- Locks a command id until the transaction ends: while it is held, nobody else can carry that command out.
-- +goose StatementBegin
CREATE FUNCTION atlas.lock_command(id uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(atlas.lock_key('command', hashtextextended(id::text, 0)))
$$;
-- +goose StatementEnd
