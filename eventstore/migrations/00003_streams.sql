-- +goose Up

-- One row per stream: the guard of its versions, and where it lies in the log.
-- Only unindexed columns change, and pages keep room, so updates stay on their page.
CREATE TABLE atlas.streams (
    stream         text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL,
    first_position bigint,
    last_position  bigint,
    last_time      timestamptz NOT NULL,
    CONSTRAINT streams_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 80);
