-- +goose Up

-- The next messages of a topic for a group, at most so many, in the columns that watermill-sql wants; none while another
-- session has the group. Categories and types are lists with commas, and empty for all.
--
-- VOLATILE, so that each statement has a snapshot of its own: the group's lock, then its place, then the horizon, then the
-- events. In that order nothing is skipped: whoever had the group before has committed its place, and whoever drew a position
-- up to the horizon has committed visibly or rolled back.
--
-- Where nothing is chosen for a while, the place moves on by itself: the caller commits.
-- +goose StatementBegin
CREATE FUNCTION atlas.read_topic(of_topic text, of_group text, categories text, types text, at_most integer)
RETURNS TABLE (place bigint, transaction bigint, uuid text, payload bytea, metadata text) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    look CONSTANT bigint := 1000000; -- positions that one call looks at
    wanted_categories text[] := string_to_array(categories, ',');
    wanted_types text[] := string_to_array(types, ',');
    read_upto bigint;
    horizon bigint;
    looked bigint;
    reach bigint;
BEGIN
    -- Two numbers, so that it is nobody's fence: those are locks by one.
    IF NOT pg_try_advisory_xact_lock(hashtext('atlas.log_readers/' || of_topic), hashtext(of_group)) THEN
        RETURN;
    END IF;
    SELECT r.position INTO read_upto FROM atlas.log_readers r WHERE r.topic = of_topic AND r.consumer_group = of_group;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    horizon := atlas.horizon();
    looked := read_upto;
    reach := 1000;
    WHILE looked < least(horizon, read_upto + look) LOOP
        reach := least(horizon, looked + least(reach * 4, 100000), read_upto + look);
        IF EXISTS (SELECT FROM atlas.detached_parts) THEN
            PERFORM atlas.require_range(looked, reach);
        END IF;
        RETURN QUERY
            SELECT e.position, 0::bigint,
                coalesce(CASE WHEN e.type = 'message.published' THEN nullif(e.data->>'uuid', '') END, e.id::text),
                CASE
                    WHEN e.type <> 'message.published' THEN convert_to(e.data::text, 'UTF8')
                    WHEN e.data ? 'payload' THEN convert_to((e.data->'payload')::text, 'UTF8')
                    ELSE decode(coalesce(e.data->>'payload_base64', ''), 'base64')
                END,
                (jsonb_strip_nulls(jsonb_build_object(
                    'event_id', e.id,
                    'stream', e.stream,
                    'stream_version', e.version::text,
                    'position', e.position::text,
                    'type', e.type,
                    'schema_version', e.schema_version::text,
                    'occurred_at', to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'correlation_id', e.metadata->'correlation_id',
                    'causation_id', e.metadata->'causation_id',
                    'traceparent', e.metadata->'traceparent'
                )) || CASE WHEN e.type = 'message.published' THEN coalesce(e.data->'metadata', '{}') ELSE '{}' END)::text
            FROM atlas.events e
            WHERE e.position > looked AND e.position <= reach
                AND (cardinality(wanted_types) = 0 OR e.type = ANY (wanted_types))
                AND (cardinality(wanted_categories) = 0 OR split_part(e.stream, '-', 1) = ANY (wanted_categories))
            ORDER BY e.position
            LIMIT at_most;
        IF FOUND THEN
            RETURN;
        END IF;
        looked := reach;
        reach := reach - read_upto;
    END LOOP;
    IF looked >= read_upto + 1000 THEN
        UPDATE atlas.log_readers r SET position = looked WHERE r.topic = of_topic AND r.consumer_group = of_group;
    END IF;
END
$$;
-- +goose StatementEnd
