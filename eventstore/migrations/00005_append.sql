-- +goose Up

-- Appends events to one or several streams, atomically, and records the command that did it.
--
-- Everything happens in one fixed order, which the argument in the package's doc.go needs: the command's lock, the
-- stream rows in the order of their names, then the fence, then positions are drawn and rows inserted.
--   * The fence is a shared lock, so appends never wait for one another there. Its key is the sequence's last value
--     before the first draw: a reader that finds the lock knows that nothing this transaction draws lies at or below it.
--   * It must not be taken inside a savepoint or an EXCEPTION block, since rolling back to one releases it. This
--     function has neither, and its callers must not wrap it in one.
--   * Taken after the stream rows, it is held only for the insert and the commit, however long a hot stream made us wait.
--
-- status tells what became of it: 'appended'; 'replayed' (the command was carried out before: outcome is the first
-- one, nothing is written); 'reused' (its id belongs to another command); 'version' (a stream is not at the expected
-- version: outcome names it and its actual version, nothing is written). outcome is a JSON array of streams: first those
-- that were only checked, by name, then those that were written to, by position.
--
-- Expected versions: -1 any, 0 no stream yet, n exactly n. Streams come sorted by name (bytes), each once.
-- Event arrays run in the order of the log: event_streams is each event's stream (an index into stream_names),
-- event_numbers its number within that stream in this append, from 1.
-- +goose StatementBegin
CREATE FUNCTION atlas.append(
    command_id uuid,
    command_fingerprint bytea,
    command_metadata jsonb,
    stream_names text[],
    expected_versions bigint[],
    event_streams integer[],
    event_numbers integer[],
    event_ids uuid[],
    event_types text[],
    event_schemas integer[],
    event_data jsonb[],
    event_subjects uuid[],
    event_sealed bytea[],
    event_secrets bytea[],
    OUT status text,
    OUT outcome jsonb
) LANGUAGE plpgsql AS $$
DECLARE
    known record;
    guard record;
    written record;
    name text;
    last_seen timestamptz := '-infinity';
    current_versions bigint[] := '{}';
    fresh text[] := '{}';
    absent text[] := '{}';
    now_time timestamptz;
    fence bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'appends need READ COMMITTED';
    END IF;

    PERFORM atlas.lock_command(command_id);
    SELECT c.fingerprint, c.outcome INTO known FROM atlas.commands c WHERE c.id = command_id;
    IF FOUND THEN
        status := CASE WHEN known.fingerprint = command_fingerprint THEN 'replayed' ELSE 'reused' END;
        outcome := CASE status WHEN 'replayed' THEN known.outcome END;
        RETURN;
    END IF;

    outcome := '[]';
    FOR i IN 1 .. cardinality(stream_names) LOOP
        IF name >= stream_names[i] COLLATE "C" THEN
            RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'streams must be sorted and distinct';
        END IF;
        name := stream_names[i];
        LOOP
            SELECT s.version, s.last_time, s.last_position INTO guard
            FROM atlas.streams s WHERE s.stream = name FOR UPDATE;
            EXIT WHEN FOUND OR expected_versions[i] > 0 OR (expected_versions[i] < 0 AND i <> ALL (event_streams));
            -- The first to insert the row has it; the others wait for it here and then find the row above.
            -- A stream that must not exist gets a row even where nothing is written to it, and loses it below: until
            -- this append ends, nobody else can make the stream.
            INSERT INTO atlas.streams (stream, version, last_time) VALUES (name, 0, '-infinity') ON CONFLICT DO NOTHING;
            IF FOUND THEN
                fresh := fresh || name;
                IF i <> ALL (event_streams) THEN
                    absent := absent || name;
                END IF;
            END IF;
        END LOOP;
        current_versions[i] := coalesce(guard.version, 0);
        IF expected_versions[i] >= 0 AND current_versions[i] <> expected_versions[i] THEN
            DELETE FROM atlas.streams s WHERE s.stream = ANY (fresh);
            status := 'version';
            outcome := jsonb_build_array(jsonb_build_object('stream', name, 'version', current_versions[i]));
            RETURN;
        END IF;
        last_seen := greatest(last_seen, guard.last_time);
        IF i <> ALL (event_streams) THEN
            outcome := outcome || jsonb_build_object('stream', name, 'version', current_versions[i],
                'position', coalesce(guard.last_position, 0), 'events', 0);
        END IF;
    END LOOP;

    now_time := greatest(clock_timestamp(), last_seen);
    IF cardinality(event_ids) > 0 THEN
        SELECT last_value INTO fence FROM atlas.events_position;
        PERFORM pg_advisory_xact_lock_shared(atlas.lock_key('fence', fence));
        PERFORM set_config('idle_in_transaction_session_timeout', '10s', true);

        FOR written IN
            WITH inserted AS (
                INSERT INTO atlas.events AS t (position, version, recorded_at, id, subject, schema_version, stream, type,
                    data, metadata, sealed, secret)
                SELECT nextval('atlas.events_position'), current_versions[e.stream] + e.number, now_time, e.id, e.subject,
                    e.schema_version, stream_names[e.stream], e.type, e.data, command_metadata, e.sealed, e.secret
                FROM (
                    SELECT u.*
                    FROM unnest(event_streams, event_numbers, event_ids, event_types, event_schemas, event_data,
                        event_subjects, event_sealed, event_secrets) WITH ORDINALITY
                        AS u (stream, number, id, type, schema_version, data, subject, sealed, secret, ordinal)
                    ORDER BY u.ordinal
                ) e
                RETURNING t.stream, t.version, t.position
            )
            SELECT i.stream, max(i.version) AS version, min(i.position) AS first, max(i.position) AS last, count(*) AS events
            FROM inserted i GROUP BY i.stream ORDER BY first
        LOOP
            UPDATE atlas.streams s
            SET version = written.version, last_time = now_time, last_position = written.last,
                first_position = coalesce(s.first_position, written.first)
            WHERE s.stream = written.stream;
            outcome := outcome || jsonb_build_object('stream', written.stream, 'version', written.version,
                'position', written.last, 'events', written.events);
        END LOOP;
    END IF;

    IF cardinality(absent) > 0 THEN
        DELETE FROM atlas.streams s WHERE s.stream = ANY (absent);
    END IF;
    INSERT INTO atlas.commands (part, id, fingerprint, outcome, recorded_at)
    VALUES (atlas.command_part(now_time), command_id, command_fingerprint, outcome, now_time);
    status := 'appended';
END
$$;
-- +goose StatementEnd
