-- +goose Up

-- Writes what a group of appends has come to, in the transaction that locked their commands and streams: all of them,
-- or, with an error, none. The order is that of atlas.append: locks before, then the fence, then positions and rows.
--
-- Streams come sorted by name, with their versions before (0 for a new one) and after, and with the first and the last
-- of the events they get. A stream that was new when the group looked and is not any more is the error AT003: the
-- members are then appended alone. Items are the outcomes, stream by stream, of the members whose commands are recorded, in
-- the order of the members: the position is that of the event item_lasts names, or, where that is 0, item_positions.
--
-- What joins an array to a table must go through the table's index however small the table was when the plan was made,
-- and the price that forbidding the other ways puts on a plan must not make PostgreSQL compile it.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.append_group(
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
    ids uuid[];
    fingerprints bytea[];
    outcomes jsonb[];
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

    IF cardinality(item_members) > 0 THEN
        SELECT array_agg(member_ids[r.member]), array_agg(member_fingerprints[r.member]), array_agg(r.outcome)
        INTO ids, fingerprints, outcomes
        FROM (
            SELECT i.member, jsonb_agg(jsonb_build_object('stream', i.stream, 'version', i.version,
                'position', coalesce(positions[nullif(i.last, 0)], i.position), 'events', i.events) ORDER BY i.ordinal) AS outcome
            FROM unnest(item_members, item_streams, item_versions, item_events, item_lasts, item_positions)
                WITH ORDINALITY AS i (member, stream, version, events, last, position, ordinal)
            GROUP BY i.member
        ) AS r;
        CASE command_part
        WHEN 0 THEN
            INSERT INTO atlas.commands_0 (id, fingerprint, outcome, recorded_at)
            SELECT r.id, r.fingerprint, r.outcome, now_time FROM unnest(ids, fingerprints, outcomes) AS r (id, fingerprint, outcome);
        WHEN 1 THEN
            INSERT INTO atlas.commands_1 (id, fingerprint, outcome, recorded_at)
            SELECT r.id, r.fingerprint, r.outcome, now_time FROM unnest(ids, fingerprints, outcomes) AS r (id, fingerprint, outcome);
        WHEN 2 THEN
            INSERT INTO atlas.commands_2 (id, fingerprint, outcome, recorded_at)
            SELECT r.id, r.fingerprint, r.outcome, now_time FROM unnest(ids, fingerprints, outcomes) AS r (id, fingerprint, outcome);
        WHEN 3 THEN
            INSERT INTO atlas.commands_3 (id, fingerprint, outcome, recorded_at)
            SELECT r.id, r.fingerprint, r.outcome, now_time FROM unnest(ids, fingerprints, outcomes) AS r (id, fingerprint, outcome);
        WHEN 4 THEN
            INSERT INTO atlas.commands_4 (id, fingerprint, outcome, recorded_at)
            SELECT r.id, r.fingerprint, r.outcome, now_time FROM unnest(ids, fingerprints, outcomes) AS r (id, fingerprint, outcome);
        END CASE;
    END IF;
END
$$;
-- +goose StatementEnd

-- What was replaced has lost its marks: where the application has a role of its own, it must go on appending.
-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'atlas'::regnamespace AND p.proname IN ('append', 'append_one', 'append_group')
            AND (SELECT l.prosecdef FROM pg_proc l WHERE l.oid = 'atlas.lock_streams(text[])'::regprocedure)
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, atlas, pg_temp', f);
    END LOOP;
END
$$;
-- +goose StatementEnd
