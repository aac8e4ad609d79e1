-- +goose Up

-- How far the relay has come with each topic of the outbox. The holder is a process of atlas.projection_nodes; who takes
-- the row adds one to the epoch, and nothing that is recorded under an older one counts.
--
-- "offset", sequence and stream_made are one fact: when the broker's stream that was made then held its message number
-- "sequence" as the last, everything of the topic up to "offset" had been forwarded, and nothing above it. It stays true
-- for ever, so a row that lags behind costs a look at the stream and no message.
CREATE TABLE atlas.relays (
    topic       text        NOT NULL,
    holder      uuid,
    epoch       bigint      NOT NULL DEFAULT 0,
    "offset"    bigint      NOT NULL DEFAULT 0,
    sequence    bigint,     -- NULL while nothing was forwarded yet
    stream_made bigint,     -- when the broker made the stream, in nanoseconds: it tells one from a later one of its name
    moved_at    timestamptz,
    error       text,       -- why it stands still
    error_since timestamptz,
    CONSTRAINT relays_pkey PRIMARY KEY (topic),
    CONSTRAINT relays_holder_fkey FOREIGN KEY (holder) REFERENCES atlas.projection_nodes (id) ON DELETE SET NULL,
    CONSTRAINT relays_place CHECK ((sequence IS NULL) = (stream_made IS NULL)),
    CONSTRAINT relays_error CHECK ((error IS NULL) = (error_since IS NULL))
);
