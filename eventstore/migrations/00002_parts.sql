-- +goose Up

-- The advisory locks of Atlas: 16 bits say what is locked, 48 bits which one.
-- +goose StatementBegin
CREATE FUNCTION atlas.lock_key(kind text, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE kind WHEN 'fence' THEN 16724 WHEN 'command' THEN 16725 WHEN 'parts' THEN 16726 END::bigint << 48)
        | (n & 281474976710655)
$$;
-- +goose StatementEnd

-- The database itself refuses to change the log, whoever asks.
-- +goose StatementBegin
CREATE FUNCTION atlas.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'AT002',
        MESSAGE = format('%s on the event log is refused: events are only ever appended', TG_OP);
END
$$;
-- +goose StatementEnd

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON atlas.events
    FOR EACH STATEMENT EXECUTE FUNCTION atlas.refuse_change();

-- Makes part n of the log, for positions n*33554432 up to the next part's, unless it exists.
-- A part is created like its parent and then attached: CREATE TABLE … PARTITION OF would wait for every reader of the
-- log, and every later reader for it. The CHECK spares ATTACH a scan and is dropped when it has served.
-- +goose StatementBegin
CREATE FUNCTION atlas.make_part(n bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    size CONSTANT bigint := 33554432;
    part CONSTANT text := 'events_' || n;
BEGIN
    IF to_regclass('atlas.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE atlas.%I (LIKE atlas.events INCLUDING ALL,
        CONSTRAINT events_part CHECK (position >= %s AND position < %s))', part, n * size, (n + 1) * size);
    EXECUTE format('CREATE UNIQUE INDEX %I ON atlas.%I (stream, version)', part || '_stream_version', part);
    EXECUTE format('CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON atlas.%I
        FOR EACH STATEMENT EXECUTE FUNCTION atlas.refuse_change()', part);
    EXECUTE format('ALTER TABLE atlas.events ATTACH PARTITION atlas.%I FOR VALUES FROM (%s) TO (%s)',
        part, n * size, (n + 1) * size);
    EXECUTE format('ALTER TABLE atlas.%I DROP CONSTRAINT events_part', part);
END
$$;
-- +goose StatementEnd

-- Makes the part that the next position falls into, and the one after it. One caller at a time; the others wait and
-- then find the parts made. Appends are not held up.
-- +goose StatementBegin
CREATE FUNCTION atlas.ensure_parts() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    current_part bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(atlas.lock_key('parts', 0));
    SELECT (last_value + 1) / 33554432 INTO current_part FROM atlas.events_position;
    PERFORM atlas.make_part(current_part);
    PERFORM atlas.make_part(current_part + 1);
END
$$;
-- +goose StatementEnd

SELECT atlas.ensure_parts();
