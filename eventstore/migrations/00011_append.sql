-- +goose Up

-- Appends events to one or several streams, atomically, and records the command that did it. It takes one round trip,
-- and commits by itself outside a transaction of the caller's.
--
-- Everything happens in one fixed order, which the argument in the package's doc.go needs: the command's lock, the rows
-- of streams that exist in the order of their names, then the fence, then positions are drawn and rows inserted.
--   * The fence is a shared lock, so appends never wait for one another there. Its key is the sequence's last value
--     before the first draw: a reader that finds the lock knows that nothing this transaction draws lies at or below it.
--   * It must not be taken inside a savepoint or an EXCEPTION block, since rolling back to one releases it. This
--     function has neither, and its callers must not wrap it in one.
--   * Taken after the stream rows, it is held only for the inserts and the commit, however long a hot stream made us
--     wait. New streams are made behind it: whoever makes the same stream just now stands behind a fence of its own,
--     which readers wait for anyway.
--   * Waiting first for the command, then for existing streams by name, then for new ones by name, appends of one call
--     each cannot deadlock.
--
-- Who may wait waits for twelve seconds at most, and then fails with 55P03.
--
-- Without may_wait it waits for nobody who holds the command or an existing stream, and its status is 'busy' instead.
--
-- status tells what became of it: 'appended'; 'replayed' (the command was carried out before: outcome is the first
-- one); 'reused' (its id belongs to another command); 'version' (a stream is not at the expected version: outcome names
-- it and its actual version); 'again' (a stream came into being meanwhile; the same call will find it); 'busy'. All but
-- the first have written nothing. outcome is a JSON array of streams in the order of stream_order.
--
-- Streams come sorted by name (bytes), each once. For each: the version expected (-1 any, 0 no stream yet, n exactly
-- n), how many events it gets, and which of the events is its last. The events run in the order of the log:
-- event_streams is each one's stream and event_numbers its number among those the stream gets, from 1.
-- command_given is false for an id made up for this call: nobody can have used it, so nobody is asked. command_part is
-- the table of commands whose turn it was when the caller began; a second try of the same call names the same one, so
-- that its primary key keeps a first try that was thought lost from being carried out as well. -1 is a command that need
-- not be recorded (00010_append_one.sql).
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.append(
    may_wait boolean,
    command_id uuid,
    command_given boolean,
    command_part integer,
    command_fingerprint bytea,
    command_metadata jsonb,
    stream_names text[],
    stream_versions bigint[],
    stream_events integer[],
    stream_lasts integer[],
    stream_order integer[],
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
    name text;
    actual bigint[] := '{}';    -- the streams' versions, 0 for one that does not exist
    absent text[] := '{}';      -- streams that only must not exist, held by a row until we are done
    made text[] := '{}';        -- streams made by this call
    items jsonb[] := '{}';      -- the outcome, stream by stream
    positions bigint[] := '{}'; -- of the events
    now_time timestamptz := '-infinity';
    fence bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'appends need READ COMMITTED';
    END IF;
    IF may_wait THEN
        PERFORM set_config('lock_timeout', '12s', true);
    END IF;

    IF command_given THEN
        IF NOT pg_try_advisory_xact_lock(atlas.lock_key('command', hashtextextended(command_id::text, 0))) THEN
            IF NOT may_wait THEN
                status := 'busy';
                RETURN;
            END IF;
            PERFORM pg_advisory_xact_lock(atlas.lock_key('command', hashtextextended(command_id::text, 0)));
        END IF;
        SELECT c.fingerprint, c.outcome INTO known FROM atlas.commands c WHERE c.id = command_id;
        IF FOUND THEN
            status := CASE WHEN known.fingerprint = command_fingerprint THEN 'replayed' ELSE 'reused' END;
            outcome := CASE status WHEN 'replayed' THEN known.outcome END;
            RETURN;
        END IF;
    END IF;

    FOR i IN 1 .. cardinality(stream_names) LOOP
        IF name >= stream_names[i] COLLATE "C" THEN
            RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'streams must be sorted and distinct';
        END IF;
        name := stream_names[i];
        actual[i] := 0;
        -- A new stream that gets events is made below, and whether it was there already will show then.
        CONTINUE WHEN stream_versions[i] = 0 AND stream_events[i] > 0;
        SELECT s.version, s.last_time, s.last_position INTO guard
        FROM atlas.streams s WHERE s.stream = name FOR UPDATE SKIP LOCKED;
        IF NOT FOUND AND may_wait THEN
            SELECT s.version, s.last_time, s.last_position INTO guard
            FROM atlas.streams s WHERE s.stream = name FOR UPDATE;
        ELSIF NOT FOUND AND EXISTS (SELECT FROM atlas.streams s WHERE s.stream = name) THEN
            status := 'busy';
            EXIT;
        END IF;
        IF guard.version IS NOT NULL THEN
            actual[i] := guard.version;
            now_time := greatest(now_time, guard.last_time);
        ELSIF stream_versions[i] = 0 THEN
            INSERT INTO atlas.streams (stream, version, last_time) VALUES (name, 0, '-infinity') ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                status := 'again';
                EXIT;
            END IF;
            absent := absent || name;
        END IF;
        IF stream_versions[i] >= 0 AND actual[i] <> stream_versions[i] THEN
            status := 'version';
            outcome := jsonb_build_array(jsonb_build_object('stream', name, 'version', actual[i]));
            EXIT;
        END IF;
        items[i] := jsonb_build_object('stream', name, 'version', actual[i], 'position', coalesce(guard.last_position, 0), 'events', 0);
    END LOOP;

    now_time := greatest(now_time, clock_timestamp());
    IF status IS NULL AND cardinality(event_ids) > 0 THEN
        SELECT last_value INTO fence FROM atlas.events_position;
        -- Nobody ever takes it otherwise than shared, so the try always succeeds.
        IF NOT pg_try_advisory_xact_lock_shared(atlas.lock_key('fence', fence)) THEN
            RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'the fence is taken';
        END IF;
        FOR i IN 1 .. cardinality(event_ids) LOOP
            positions[i] := nextval('atlas.events_position');
        END LOOP;

        FOR i IN 1 .. cardinality(stream_names) LOOP
            CONTINUE WHEN actual[i] > 0 OR stream_events[i] = 0;
            INSERT INTO atlas.streams (stream, version, first_position, last_position, last_time)
            VALUES (stream_names[i], stream_events[i], positions[array_position(event_streams, i)],
                positions[stream_lasts[i]], now_time)
            ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                status := CASE stream_versions[i] WHEN 0 THEN 'version' ELSE 'again' END;
                SELECT jsonb_build_array(jsonb_build_object('stream', s.stream, 'version', s.version)) INTO outcome
                FROM atlas.streams s WHERE s.stream = stream_names[i];
                EXIT;
            END IF;
            made := made || stream_names[i];
        END LOOP;
    END IF;

    IF status IS NOT NULL THEN -- the streams made on the way are all that was written
        DELETE FROM atlas.streams s WHERE s.stream = ANY (absent || made);
        -- A first try of this very command may have been the one that moved the stream on, while we waited for its row:
        -- a lost try of a made-up id holds no command lock. Then the race was lost to ourselves, and is won.
        IF status = 'version' AND command_given THEN
            SELECT c.fingerprint, c.outcome INTO known FROM atlas.commands c WHERE c.id = command_id;
            IF FOUND AND known.fingerprint = command_fingerprint THEN
                status := 'replayed';
                outcome := known.outcome;
            END IF;
        END IF;
        RETURN;
    END IF;

    FOR i IN 1 .. cardinality(stream_names) LOOP
        CONTINUE WHEN stream_events[i] = 0;
        IF actual[i] > 0 THEN
            UPDATE atlas.streams s
            SET version = actual[i] + stream_events[i], last_position = positions[stream_lasts[i]], last_time = now_time
            WHERE s.stream = stream_names[i];
        END IF;
        items[i] := jsonb_build_object('stream', stream_names[i], 'version', actual[i] + stream_events[i],
            'position', positions[stream_lasts[i]], 'events', stream_events[i]);
    END LOOP;

    IF cardinality(event_ids) = 1 THEN -- the common case, spared the arrays
        INSERT INTO atlas.events (position, version, recorded_at, id, subject, schema_version, stream, type, data, metadata,
            sealed, secret)
        VALUES (positions[1], actual[event_streams[1]] + 1, now_time, event_ids[1], event_subjects[1], event_schemas[1],
            stream_names[event_streams[1]], event_types[1], event_data[1], command_metadata, event_sealed[1], event_secrets[1]);
    ELSIF cardinality(event_ids) > 1 THEN
        INSERT INTO atlas.events (position, version, recorded_at, id, subject, schema_version, stream, type, data, metadata,
            sealed, secret)
        SELECT e.position, actual[e.stream] + e.number, now_time, e.id, e.subject, e.schema_version,
            stream_names[e.stream], e.type, e.data, command_metadata, e.sealed, e.secret
        FROM unnest(positions, event_streams, event_numbers, event_ids, event_subjects, event_schemas, event_types,
            event_data, event_sealed, event_secrets)
            AS e (position, stream, number, id, subject, schema_version, type, data, sealed, secret);
    END IF;

    IF cardinality(absent) > 0 THEN
        DELETE FROM atlas.streams s WHERE s.stream = ANY (absent);
    END IF;
    outcome := jsonb_build_array(items[stream_order[1]]);
    FOR i IN 2 .. cardinality(stream_order) LOOP
        outcome := outcome || items[stream_order[i]];
    END LOOP;
    PERFORM atlas.record_command(command_part, command_id, command_fingerprint, outcome, now_time);
    status := 'appended';
END
$$;
-- +goose StatementEnd
