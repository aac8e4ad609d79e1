-- +goose Up

-- The tables the APIs read. All of them can be rebuilt from the log.
CREATE SCHEMA read;

-- How far each version of each projection has come. The position moves in the transaction that writes the rows, and
-- only from the position the writer started at, so no event is folded twice and none is left out.
CREATE TABLE atlas.projections (
    name       text        NOT NULL,
    version    integer     NOT NULL,
    position   bigint      NOT NULL DEFAULT 0,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    error      text,
    error_at   timestamptz,
    CONSTRAINT projections_pkey PRIMARY KEY (name, version),
    CONSTRAINT projections_error CHECK ((error IS NULL) = (error_at IS NULL))
);
