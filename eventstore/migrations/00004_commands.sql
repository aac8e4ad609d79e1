-- +goose Up

-- What each command did, so that the same command again does nothing and gets the same answer.
-- Five tables of ten days each take turns. Before a table's turn comes round it is emptied, so an id is kept for at least
-- thirty days and expiry costs one TRUNCATE. Should nobody empty it, ids are kept longer, and nothing breaks.
-- An id is unique across the tables because whoever looks for it holds its lock (00005_append.sql).
-- They are tables of their own and not partitions, since finding a partition costs more than the insert.
CREATE TABLE atlas.commands_0 (
    id          uuid        NOT NULL,
    fingerprint bytea       NOT NULL,
    outcome     jsonb       NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT commands_0_pkey PRIMARY KEY (id)
);
CREATE TABLE atlas.commands_1 (LIKE atlas.commands_0 INCLUDING ALL);
CREATE TABLE atlas.commands_2 (LIKE atlas.commands_0 INCLUDING ALL);
CREATE TABLE atlas.commands_3 (LIKE atlas.commands_0 INCLUDING ALL);
CREATE TABLE atlas.commands_4 (LIKE atlas.commands_0 INCLUDING ALL);

CREATE VIEW atlas.commands AS
SELECT id, fingerprint, outcome, recorded_at FROM atlas.commands_0
UNION ALL SELECT id, fingerprint, outcome, recorded_at FROM atlas.commands_1
UNION ALL SELECT id, fingerprint, outcome, recorded_at FROM atlas.commands_2
UNION ALL SELECT id, fingerprint, outcome, recorded_at FROM atlas.commands_3
UNION ALL SELECT id, fingerprint, outcome, recorded_at FROM atlas.commands_4;

-- The table whose turn it is at a time, 0 to 4.
-- +goose StatementBegin
CREATE FUNCTION atlas.command_part(at timestamptz) RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (floor(date_part('epoch', at) / 864000)::bigint % 5)::integer
$$;
-- +goose StatementEnd

-- Locks a command id until the transaction ends: while it is held, nobody else can carry that command out.
-- +goose StatementBegin
CREATE FUNCTION atlas.lock_command(id uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(atlas.lock_key('command', hashtextextended(id::text, 0)))
$$;
-- +goose StatementEnd
