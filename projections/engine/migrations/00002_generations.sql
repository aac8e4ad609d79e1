-- +goose Up

-- The processes that run or read projections. Each has one row, which the process alone writes, on one connection that it
-- keeps for that: the row is worth something while that session lives and until "until", by the clock of the database.
-- So a process that was killed is known to be gone at once, and one that the network cut off when its time is up.
CREATE TABLE atlas.projection_nodes (
    id         uuid        NOT NULL,
    name       text        NOT NULL, -- host and process, for operators
    pid        integer     NOT NULL, -- of the session on the server
    session_at timestamptz NOT NULL, -- when that session began
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    until      timestamptz NOT NULL,
    runs       text[]      NOT NULL, -- the projections it was compiled for, as name_vN
    CONSTRAINT projection_nodes_pkey PRIMARY KEY (id)
);

-- A projection's table exists in generations. Who writes what:
--
--   position, moved_at   whoever holds the row, in the transaction that writes the table, and only from the position and
--                        at the epoch that it knows (compare-and-set). "building": the builder alone, likewise.
--   parked               whoever parks or frees a key, with this row locked
--   error, error_*       the holder; cleared when the position moves
--   holder, epoch        who takes the row: it adds one to the epoch. The holder may give it back (NULL).
--   state                a rebuild: building -> following -> live -> retired, with the row locked
--
-- Whoever locks several rows does so by name, version and generation. A runner locks with SKIP LOCKED and comes again.
ALTER TABLE atlas.projections
    ADD COLUMN generation integer NOT NULL DEFAULT 1,
    ADD COLUMN state      text    NOT NULL DEFAULT 'live',
    ADD COLUMN holder     uuid,
    ADD COLUMN epoch      bigint  NOT NULL DEFAULT 0,
    ADD COLUMN parked     bigint  NOT NULL DEFAULT 0, -- keys that are parked; no row in projection_parked where it is 0
    ADD COLUMN error_since timestamptz,               -- of the first failure in a row; error_at is the last
    ADD COLUMN attempts   integer NOT NULL DEFAULT 0, -- how often it has failed in a row
    DROP CONSTRAINT projections_pkey,
    ADD CONSTRAINT projections_pkey PRIMARY KEY (name, version, generation),
    -- "live" is what readers see. A runner moves "live" and "following", in lockstep where it holds both; "building" is
    -- filled by whoever holds it, not by a runner; "retired" stands still, and stays for a way back.
    ADD CONSTRAINT projections_state CHECK (state IN ('building', 'following', 'live', 'retired')),
    ADD CONSTRAINT projections_holder_fkey FOREIGN KEY (holder) REFERENCES atlas.projection_nodes (id) ON DELETE SET NULL;

CREATE UNIQUE INDEX projections_one_live ON atlas.projections (name, version) WHERE state = 'live';

-- Keys whose events cannot be folded. Their rows stay as they were; the positions of their events wait in order, the one
-- that failed first. All of it goes with the generation.
CREATE TABLE atlas.projection_parked (
    name       text        NOT NULL,
    version    integer     NOT NULL,
    generation integer     NOT NULL,
    key        text        NOT NULL, -- the row's key columns, as JSON
    subject    uuid,                 -- whom the event that failed is about
    position   bigint      NOT NULL, -- of the event that failed
    error      text        NOT NULL,
    attempts   integer     NOT NULL DEFAULT 1,
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at    timestamptz NOT NULL, -- when a runner tries again by itself
    CONSTRAINT projection_parked_pkey PRIMARY KEY (name, version, generation, key),
    CONSTRAINT projection_parked_generation_fkey FOREIGN KEY (name, version, generation)
        REFERENCES atlas.projections (name, version, generation) ON DELETE CASCADE
);

CREATE INDEX projection_parked_subject ON atlas.projection_parked (name, version, generation, subject);

CREATE TABLE atlas.projection_held (
    name       text    NOT NULL,
    version    integer NOT NULL,
    generation integer NOT NULL,
    key        text    NOT NULL,
    position   bigint  NOT NULL,
    CONSTRAINT projection_held_pkey PRIMARY KEY (name, version, generation, key, position),
    CONSTRAINT projection_held_parked_fkey FOREIGN KEY (name, version, generation, key)
        REFERENCES atlas.projection_parked (name, version, generation, key) ON DELETE CASCADE
);
