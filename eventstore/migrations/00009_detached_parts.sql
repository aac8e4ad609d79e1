-- +goose Up

-- The parts of the log that lie elsewhere. Whoever would read over one of them is refused: an event that is away must not
-- look like one that never was.
CREATE TABLE atlas.detached_parts (
    part           bigint      NOT NULL,
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    detached_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT detached_parts_pkey PRIMARY KEY (part)
);

-- Detaches part n of the log, which becomes a table of its own, to be dumped and dropped. The newest part stays.
-- It waits for no reader longer than a moment; the caller tries again.
-- +goose StatementBegin
CREATE FUNCTION atlas.detach_part(n bigint) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    size CONSTANT bigint := 33554432;
    drawn bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(atlas.lock_key('parts', 0));
    SELECT last_value INTO drawn FROM atlas.events_position;
    IF n >= drawn / size THEN
        RAISE EXCEPTION USING ERRCODE = 'AT004', MESSAGE = format('part events_%s is still written to', n);
    END IF;
    EXECUTE format('ALTER TABLE atlas.events DETACH PARTITION atlas.%I', 'events_' || n);
    INSERT INTO atlas.detached_parts (part, first_position, last_position) VALUES (n, n * size, (n + 1) * size - 1);
END
$$;
-- +goose StatementEnd

-- Attaches part n again. The table must be there under its name, as it was when it was detached.
-- +goose StatementBegin
CREATE FUNCTION atlas.attach_part(n bigint) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    size CONSTANT bigint := 33554432;
    part CONSTANT text := 'events_' || n;
BEGIN
    PERFORM pg_advisory_xact_lock(atlas.lock_key('parts', 0));
    DELETE FROM atlas.detached_parts d WHERE d.part = n;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AT004', MESSAGE = format('part %s is not detached', part);
    ELSIF to_regclass('atlas.' || part) IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AT004', MESSAGE = format('part %s is not in the database: restore it first', part);
    END IF;
    EXECUTE format('ALTER TABLE atlas.%I ADD CONSTRAINT events_part CHECK (position >= %s AND position < %s)',
        part, n * size, (n + 1) * size);
    EXECUTE format('ALTER TABLE atlas.events ATTACH PARTITION atlas.%I FOR VALUES FROM (%s) TO (%s)',
        part, n * size, (n + 1) * size);
    EXECUTE format('ALTER TABLE atlas.%I DROP CONSTRAINT events_part', part);
END
$$;
-- +goose StatementEnd

-- Refuses where a part that overlaps the positions in (after_position, upto] is detached; otherwise true. STABLE, so
-- that a query evaluates it once. Queries call it only where any part is detached (eventstore/parts.go).
-- +goose StatementBegin
CREATE FUNCTION atlas.require_range(after_position bigint, upto bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    away atlas.detached_parts;
BEGIN
    SELECT d.* INTO away FROM atlas.detached_parts d
    WHERE d.first_position <= upto AND d.last_position > after_position ORDER BY d.part LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AT006', MESSAGE = format(
            'part events_%s of the log, positions %s to %s, is detached', away.part, away.first_position, away.last_position);
    END IF;
    RETURN true;
END
$$;
-- +goose StatementEnd

-- Refuses where events of a stream, from a version on, lie in a detached part; otherwise true.
-- +goose StatementBegin
CREATE FUNCTION atlas.require_stream(name text, from_version bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    guard atlas.streams;
    visible bigint;
BEGIN
    SELECT s.* INTO guard FROM atlas.streams s WHERE s.stream = name;
    IF FOUND AND guard.version >= from_version THEN
        SELECT count(*) INTO visible FROM atlas.events e
        WHERE e.stream = name AND e.version >= from_version AND e.version <= guard.version;
        IF visible < guard.version - greatest(from_version, 1) + 1 THEN
            PERFORM atlas.require_range(guard.first_position - 1, guard.last_position);
        END IF;
    END IF;
    RETURN true;
END
$$;
-- +goose StatementEnd
