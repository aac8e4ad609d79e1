-- +goose Up

-- What was imported, and how far an import has come. Each chunk moves its row in the transaction that inserts its events,
-- so an import that was killed goes on after the last chunk that is in the log.
CREATE TABLE atlas.imports (
    digest          bytea       NOT NULL, -- the file's
    keeps_positions boolean     NOT NULL,
    events          bigint      NOT NULL,
    done            bigint      NOT NULL DEFAULT 0,
    line            bigint      NOT NULL DEFAULT 0,
    byte_offset     bigint      NOT NULL DEFAULT 0,
    last_position   bigint      NOT NULL DEFAULT 0,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    CONSTRAINT imports_pkey PRIMARY KEY (digest)
);
CREATE UNIQUE INDEX imports_one_at_a_time ON atlas.imports ((true)) WHERE finished_at IS NULL;

-- While an import keeps the positions of its events nobody else may append, also between its chunks and after it was
-- killed: the positions it has still to fill are not drawn from the sequence. The trigger is off at all other times.
-- +goose StatementBegin
CREATE FUNCTION atlas.refuse_beside_import() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('atlas.importing', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'AT005',
        MESSAGE = 'an import into the log has not finished: nothing else is appended before it has';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER events_closed_for_import BEFORE INSERT ON atlas.events
    FOR EACH STATEMENT EXECUTE FUNCTION atlas.refuse_beside_import();
ALTER TABLE atlas.events DISABLE TRIGGER events_closed_for_import;
