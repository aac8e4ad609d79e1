-- +goose Up

-- Writes what a group of appends has come to, in the transaction that locked their commands and streams: all of them,
-- or, with an error, none. The order is that of atlas.append: locks before, then the fence, then positions and rows.
--
-- Streams come sorted by name, with their versions before (0 for a new one) and after, and with the first and the last
-- of the events they get. A stream that was new when the group looked and is not any more is the error AT003: the
-- members are then appended alone. Items are the members' outcomes, stream by stream, in the order of the members: the
-- position is that of the event item_lasts names, or, where that is 0, item_positions.
--
-- What joins an array to a table must go through the table's index however small the table was when the plan was made,
-- and the price that forbidding the other ways puts on a plan must not make PostgreSQL compile it.
-- +goose StatementBegin
CREATE FUNCTION atlas.append_group(
    not_before timestamptz,
    command_part integer,
    stream_names text[],
    stream_befores bigint[],
    stream_afters bigint[],
    stream_firsts integer[],
    stream_lasts integer[],
    event_members integer[],
    event_streams integer[],
    event_versions bigint[],
    event_ids uuid[],
    event_types text[],
    event_schemas integer[],
    event_data jsonb[],
    event_subjects uuid[],
    event_sealed bytea[],
    event_secrets bytea[],
    member_ids uuid[],
    member_fingerprints bytea[],
    member_metadata jsonb[],
    item_members integer[],
    item_streams text[],
    item_versions bigint[],
    item_events integer[],
    item_lasts integer[],
    item_positions bigint[],
    OUT positions bigint[]
) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    now_time timestamptz := greatest(not_before, clock_timestamp());
    fence bigint;
    expected bigint;
    made bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'appends need READ COMMITTED';
    END IF;
    positions := '{}';
    IF cardinality(event_ids) > 0 THEN
        SELECT last_value INTO fence FROM atlas.events_position;
        IF NOT pg_try_advisory_xact_lock_shared(atlas.lock_key('fence', fence)) THEN
            RAISE EXCEPTION USING ERRCODE = 'AT001', MESSAGE = 'the fence is taken';
        END IF;
        SELECT array_agg(nextval('atlas.events_position')) INTO positions FROM generate_subscripts(event_ids, 1);

        SELECT count(*) INTO expected FROM unnest(stream_befores) b WHERE b = 0;
        INSERT INTO atlas.streams (stream, version, first_position, last_position, last_time)
        SELECT n.stream, n.after, positions[n.first], positions[n.last], now_time
        FROM unnest(stream_names, stream_befores, stream_afters, stream_firsts, stream_lasts) AS n (stream, before, after, first, last)
        WHERE n.before = 0
        ORDER BY n.stream COLLATE "C"
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS made = ROW_COUNT;
        IF made <> expected THEN
            RAISE EXCEPTION USING ERRCODE = 'AT003', MESSAGE = 'a stream came into being meanwhile';
        END IF;

        UPDATE atlas.streams s
        SET version = n.after, last_position = positions[n.last], last_time = now_time
        FROM unnest(stream_names, stream_befores, stream_afters, stream_lasts) AS n (stream, before, after, last)
        WHERE s.stream = n.stream AND n.before > 0;

        INSERT INTO atlas.events (position, version, recorded_at, id, subject, schema_version, stream, type, data, metadata,
            sealed, secret)
        SELECT e.position, e.version, now_time, e.id, e.subject, e.schema_version, stream_names[e.stream], e.type, e.data,
            member_metadata[e.member], e.sealed, e.secret
        FROM unnest(positions, event_members, event_streams, event_versions, event_ids, event_types, event_schemas,
            event_data, event_subjects, event_sealed, event_secrets)
            AS e (position, member, stream, version, id, type, schema_version, data, subject, sealed, secret);
    END IF;

    EXECUTE format('
        INSERT INTO atlas.commands_%s (id, fingerprint, outcome, recorded_at)
        SELECT $1[i.member], $2[i.member], jsonb_agg(jsonb_build_object(''stream'', i.stream, ''version'', i.version,
            ''position'', coalesce($3[nullif(i.last, 0)], i.position), ''events'', i.events) ORDER BY i.ordinal), $4
        FROM unnest($5, $6, $7, $8, $9, $10) WITH ORDINALITY AS i (member, stream, version, events, last, position, ordinal)
        GROUP BY i.member', command_part)
    USING member_ids, member_fingerprints, positions, now_time, item_members, item_streams, item_versions, item_events,
        item_lasts, item_positions;
END
$$;
-- +goose StatementEnd

-- Locks the commands whose ids were given, as far as nobody else has them just now, and tells of each whether it was
-- locked, and what it did if it was carried out before. The look-up is a statement of its own, so that it sees whatever
-- was committed before the lock was got.
-- +goose StatementBegin
CREATE FUNCTION atlas.lock_commands(ids uuid[], OUT id uuid, OUT locked boolean, OUT fingerprint bytea, OUT outcome jsonb)
RETURNS SETOF record LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    got boolean[] := '{}';
BEGIN
    FOR i IN 1 .. cardinality(ids) LOOP
        got[i] := pg_try_advisory_xact_lock(atlas.lock_key('command', hashtextextended(ids[i]::text, 0)));
    END LOOP;
    RETURN QUERY
        SELECT g.id, g.locked, c.fingerprint, c.outcome
        FROM unnest(ids, got) AS g (id, locked) LEFT JOIN atlas.commands c ON c.id = g.id;
END
$$;
-- +goose StatementEnd

-- Locks the streams' rows in the order of their names, but waits for none: a row that another append holds is told as
-- busy, and so is one that came into being meanwhile. A stream that is not told at all does not exist.
-- +goose StatementBegin
CREATE FUNCTION atlas.lock_streams(names text[], OUT stream text, OUT busy boolean, OUT version bigint, OUT last_position bigint, OUT last_time timestamptz)
RETURNS SETOF record LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    held text[] := '{}';
    guard record;
BEGIN
    FOR guard IN
        SELECT s.stream, s.version, s.last_position, s.last_time FROM atlas.streams s
        WHERE s.stream = ANY (names) ORDER BY s.stream FOR UPDATE SKIP LOCKED
    LOOP
        held := held || guard.stream;
        stream := guard.stream; busy := false; version := guard.version;
        last_position := guard.last_position; last_time := guard.last_time;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
        SELECT s.stream, true, s.version, s.last_position, s.last_time FROM atlas.streams s
        WHERE s.stream = ANY (names) AND s.stream <> ALL (held);
END
$$;
-- +goose StatementEnd
