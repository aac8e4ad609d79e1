-- +goose Up

-- Which generations could be needed again, and what the columns are called in which somebody's rows say whose they are: a
-- table that nobody moves any more must not keep what a forgotten person left in it.
ALTER TABLE atlas.projections
    ADD COLUMN subject   text,                        -- the table's subject column; NULL where it has none
    ADD COLUMN swept     bigint NOT NULL DEFAULT 0,   -- nobody forgotten up to here has rows left in a table that stands still
    ADD COLUMN handles   text[] NOT NULL DEFAULT '{}'; -- the types of events that some binary folds into this version

-- What is done to a projection beside its running: one thing at a time to each version.
CREATE TABLE atlas.projection_jobs (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    name       text        NOT NULL,
    version    integer     NOT NULL,
    kind       text        NOT NULL,
    state      text        NOT NULL DEFAULT 'waiting',
    served     boolean     NOT NULL, -- any process with the role projector may work on it; else only the command that asked
    build      text        NOT NULL DEFAULT '', -- of the binary that works on it
    options    jsonb       NOT NULL,
    generation integer,    -- that is being built
    phase      text        NOT NULL DEFAULT '',
    done       bigint      NOT NULL DEFAULT 0, -- of total, in the phase: positions of the log, or rows
    total      bigint      NOT NULL DEFAULT 0,
    events     bigint      NOT NULL DEFAULT 0, -- that were folded
    rate       double precision NOT NULL DEFAULT 0, -- of done, per second
    pid        integer,     -- of the session that vouches for whoever works on it
    session_at timestamptz, -- when that session began
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    error      text,
    result     jsonb,
    CONSTRAINT projection_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT projection_jobs_kind CHECK (kind IN ('rebuild', 'rollback', 'verify')),
    CONSTRAINT projection_jobs_state CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT projection_jobs_ended CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'failed', 'cancelled')))
);

CREATE UNIQUE INDEX projection_jobs_one ON atlas.projection_jobs (name, version) WHERE ended_at IS NULL;
