-- +goose Up

-- Positions are drawn from here, after the fence is taken (00005_append.sql). The first value is burned, so that
-- last_value is a position that nobody will ever hold and every event lies above it. Positions fit 48 bits, because
-- the fence's lock key has room for no more.
CREATE SEQUENCE atlas.events_position AS bigint MINVALUE 0 START 0 MAXVALUE 281474976710655 CACHE 1 NO CYCLE;
SELECT nextval('atlas.events_position');

-- The log. Rows are only ever inserted; the position is the global order.
-- There is no constraint of its own on (stream, version) here, because a unique index cannot span parts: atlas.streams
-- guards versions, and each part has its own unique index behind it.
CREATE TABLE atlas.events (
    position       bigint      NOT NULL,
    version        bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    id             uuid        NOT NULL,
    subject        uuid,
    schema_version integer     NOT NULL,
    stream         text        COLLATE "C" NOT NULL,
    type           text        COLLATE "C" NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    sealed         bytea      ,
    secret         bytea      ,
    CONSTRAINT events_pkey PRIMARY KEY (position)
) PARTITION BY RANGE (position);

CREATE INDEX events_type ON atlas.events (type, position);
CREATE INDEX events_recorded_at ON atlas.events USING brin (recorded_at);

COMMENT ON COLUMN atlas.events.subject IS 'whose key encrypts sealed and secret';
COMMENT ON COLUMN atlas.events.sealed IS 'personal fields, encrypted; unreadable once the subject is forgotten';
COMMENT ON COLUMN atlas.events.secret IS 'fields only commands may read, encrypted';

-- Ciphertext does not compress: do not try.
ALTER TABLE atlas.events ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE atlas.events ALTER COLUMN secret SET STORAGE EXTERNAL;
