-- +goose Up

-- Records what a command did, in the table whose turn it is. A part of -1 is a command that need not be recorded: its id
-- was made up for this append, and every version was exact, so that no second try could be carried out as well, and its
-- events tell what became of the first.
-- +goose StatementBegin
CREATE FUNCTION atlas.record_command(part integer, command_id uuid, command_fingerprint bytea, what jsonb, at timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE part
        WHEN 0 THEN
            INSERT INTO atlas.commands_0 (id, fingerprint, outcome, recorded_at) VALUES (command_id, command_fingerprint, what, at);
        WHEN 1 THEN
            INSERT INTO atlas.commands_1 (id, fingerprint, outcome, recorded_at) VALUES (command_id, command_fingerprint, what, at);
        WHEN 2 THEN
            INSERT INTO atlas.commands_2 (id, fingerprint, outcome, recorded_at) VALUES (command_id, command_fingerprint, what, at);
        WHEN 3 THEN
            INSERT INTO atlas.commands_3 (id, fingerprint, outcome, recorded_at) VALUES (command_id, command_fingerprint, what, at);
        WHEN 4 THEN
            INSERT INTO atlas.commands_4 (id, fingerprint, outcome, recorded_at) VALUES (command_id, command_fingerprint, what, at);
        WHEN -1 THEN
    END CASE;
END
$$;
-- +goose StatementEnd

-- Appends one event to one stream: what atlas.append does in the case that is by far the most common, for half the price.
-- It takes the same steps in the same order. What it does not know how to do it leaves to atlas.append.
--
-- What an append costs the server is mostly what PL/pgSQL pays for each expression and each statement, so there are few
-- of them; and an array is returned since a row would be kept in a store of its own first.
--
-- It returns the stream's new version and the event's position; or the stream's actual version alone, where that is not
-- the one expected (-1 any, 0 no stream yet, n exactly n); or nothing, where it has written nothing because somebody holds
-- the command or the stream, the command was carried out before, or a new stream is not new: atlas.append then knows what
-- to answer. A command_part of -1 is a command that is not recorded; the others are as in atlas.append.
-- +goose StatementBegin
CREATE FUNCTION atlas.append_one(
    command_id uuid,
    command_given boolean,
    command_part integer,
    command_fingerprint bytea,
    command_metadata jsonb,
    stream_name text,
    stream_version bigint,
    event_id uuid,
    event_type text,
    event_schema integer,
    event_data jsonb,
    event_subject uuid,
    event_sealed bytea,
    event_secret bytea
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    actual bigint := 0;
    last timestamptz;
    now_time timestamptz;
    drawn bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'appends need READ COMMITTED';
    END IF;
    IF command_given THEN
        IF NOT pg_try_advisory_xact_lock(atlas.lock_key('command', hashtextextended(command_id::text, 0))) THEN
            RETURN '{}';
        END IF;
        PERFORM FROM atlas.commands c WHERE c.id = command_id;
        IF FOUND THEN
            RETURN '{}';
        END IF;
    END IF;
    IF stream_version <> 0 THEN
        SELECT s.version, s.last_time INTO actual, last
        FROM atlas.streams s WHERE s.stream = stream_name FOR UPDATE SKIP LOCKED;
        IF actual IS NULL THEN
            RETURN '{}';
        ELSIF stream_version > 0 AND actual <> stream_version THEN
            RETURN ARRAY[actual];
        END IF;
    END IF;

    -- Nobody ever takes the fence otherwise than shared, so the try always succeeds.
    IF pg_try_advisory_xact_lock_shared(atlas.lock_key('fence', pg_sequence_last_value('atlas.events_position'))) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'the fence is taken';
    END IF;
    drawn := nextval('atlas.events_position');
    now_time := greatest(last, clock_timestamp());
    IF stream_version = 0 THEN
        INSERT INTO atlas.streams (stream, version, first_position, last_position, last_time)
        VALUES (stream_name, 1, drawn, drawn, now_time)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN '{}';
        END IF;
    ELSE
        UPDATE atlas.streams s
        SET version = actual + 1, last_position = drawn, last_time = now_time
        WHERE s.stream = stream_name;
    END IF;
    INSERT INTO atlas.events (position, version, recorded_at, id, subject, schema_version, stream, type, data, metadata,
        sealed, secret)
    VALUES (drawn, actual + 1, now_time, event_id, event_subject, event_schema, stream_name, event_type, event_data,
        command_metadata, event_sealed, event_secret);
    IF command_part >= 0 THEN
        PERFORM atlas.record_command(command_part, command_id, command_fingerprint,
            jsonb_build_array(jsonb_build_object('stream', stream_name, 'version', actual + 1, 'position', drawn, 'events', 1)),
            now_time);
    END IF;
    RETURN ARRAY[actual + 1, drawn];
END
$$;
-- +goose StatementEnd
