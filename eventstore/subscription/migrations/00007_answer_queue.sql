-- +goose Up

-- Records what became of leased messages, each if its stream is still leased by this token, and says which answers count:
-- "lost" are those of a lease that is over. An answer that is there already counts again. The key lock on the slot keeps a
-- reset out until the end; streams are locked in the order of their names.
--
-- [{lease, outcome, error, delay_ms}]. The outcome is done; delayed: again after a time, at the worker's wish; failed: tried
-- again after a time, unless that was the last try; parked: not to be tried again; lapsed: nobody answered in time.
-- +goose StatementBegin
CREATE FUNCTION atlas.answer_queue(of text, answers jsonb) RETURNS TABLE (token uuid, result text) LANGUAGE plpgsql AS $$
DECLARE
    a record;
    moment timestamptz;
    pause interval;
    parks boolean;
BEGIN
    PERFORM FROM atlas.subscription_slots s WHERE s.subscription = of AND s.slot = 0 FOR KEY SHARE;
    FOR a IN
        SELECT c.lease, c.outcome, coalesce(c.error, '') AS error, c.delay_ms, l.stream, l.position, l.version, l.event, l.type, l.redo,
            q.attempts, k.attempts AS most, k.retry_first, k.retry_max
        FROM jsonb_to_recordset(answers) AS c (lease uuid, outcome text, error text, delay_ms bigint)
        JOIN atlas.subscription_leases l ON l.lease = c.lease AND l.subscription = of AND l.answer IS NULL
        JOIN atlas.subscription_queues k ON k.subscription = of
        JOIN atlas.subscription_queued q ON q.subscription = of AND q.stream = l.stream AND q.lease = l.lease
        ORDER BY q.stream
        FOR UPDATE OF q
    LOOP
        moment := clock_timestamp();
        parks := NOT a.redo AND (a.outcome = 'parked' OR a.outcome IN ('failed', 'lapsed') AND a.most > 0 AND a.attempts + 1 >= a.most);
        pause := CASE
            WHEN a.delay_ms IS NOT NULL THEN a.delay_ms * interval '1 millisecond'
            WHEN a.outcome = 'lapsed' THEN interval '0'
            ELSE least(a.retry_max, a.retry_first * power(2, least(a.attempts, 30))) * (0.8 + 0.4 * random())
        END;
        IF a.redo AND a.outcome = 'done' THEN
            DELETE FROM atlas.subscription_parked p WHERE p.subscription = of AND p.position = a.position;
        ELSIF a.redo THEN
            UPDATE atlas.subscription_parked p
            SET attempts = p.attempts + 1, error = a.error, retry_at = NULL
            WHERE p.subscription = of AND p.position = a.position;
        ELSIF parks THEN
            INSERT INTO atlas.subscription_parked (subscription, position, slot, stream, version, event, type, attempts, error)
            VALUES (of, a.position, 0, a.stream, a.version, a.event, a.type, a.attempts + 1, a.error)
            ON CONFLICT (subscription, position) DO UPDATE
            SET attempts = excluded.attempts, error = excluded.error, retry_at = NULL;
        END IF;

        IF a.redo THEN
            UPDATE atlas.subscription_queued q
            SET lease = NULL, progress = '', next_at = greatest(moment, q.due_at)
            WHERE q.subscription = of AND q.stream = a.stream;
        ELSIF parks OR a.outcome = 'done' THEN
            UPDATE atlas.subscription_queued q
            SET position = a.position + 1, version = a.version + 1, attempts = 0, error = '', progress = '',
                due_at = '-infinity', next_at = moment, lease = NULL
            WHERE q.subscription = of AND q.stream = a.stream;
        ELSE
            UPDATE atlas.subscription_queued q
            SET attempts = q.attempts + (a.outcome <> 'delayed')::integer, error = a.error, progress = '',
                due_at = moment + pause, next_at = moment + pause, lease = NULL
            WHERE q.subscription = of AND q.stream = a.stream;
        END IF;
        PERFORM atlas.leave_queue(of, ARRAY[a.stream]);
        UPDATE atlas.subscription_leases l SET answer = a.outcome WHERE l.lease = a.lease;
    END LOOP;

    RETURN QUERY
    SELECT c.lease, CASE WHEN l.answer = c.outcome THEN 'counts' ELSE 'lost' END
    FROM jsonb_to_recordset(answers) AS c (lease uuid, outcome text)
    LEFT JOIN atlas.subscription_leases l ON l.lease = c.lease AND l.subscription = of;
END
$$;
-- +goose StatementEnd

-- Drops those of the streams that have nothing to come: no message, and no parked one that is to be tried again.
-- +goose StatementBegin
CREATE FUNCTION atlas.leave_queue(of text, streams text[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM atlas.subscription_queued q
    WHERE q.subscription = of AND q.stream = ANY (streams) AND q.seen < q.position AND q.lease IS NULL
        AND NOT EXISTS (
            SELECT FROM atlas.subscription_parked p
            WHERE p.subscription = of AND p.stream = q.stream AND p.retry_at IS NOT NULL
        )
$$;
-- +goose StatementEnd

-- Gives leased messages more time, from now on, and returns until when. A token that is not returned has lost its lease.
-- [{lease, more_ms, progress}]
-- +goose StatementBegin
CREATE FUNCTION atlas.extend_queue(of text, extensions jsonb) RETURNS TABLE (token uuid, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    kept uuid[];
BEGIN
    PERFORM FROM atlas.subscription_slots s WHERE s.subscription = of AND s.slot = 0 FOR KEY SHARE;
    SELECT array_agg(locked.lease) INTO kept
    FROM (
        SELECT q.lease
        FROM jsonb_to_recordset(extensions) AS c (lease uuid)
        JOIN atlas.subscription_leases l ON l.lease = c.lease AND l.subscription = of AND l.answer IS NULL
        JOIN atlas.subscription_queued q ON q.subscription = of AND q.stream = l.stream AND q.lease = l.lease
        ORDER BY q.stream
        FOR UPDATE OF q
    ) locked;
    UPDATE atlas.subscription_leases l
    SET expires_at = greatest(l.expires_at, clock_timestamp() + c.more_ms * interval '1 millisecond')
    FROM jsonb_to_recordset(extensions) AS c (lease uuid, more_ms bigint)
    WHERE l.lease = c.lease AND l.lease = ANY (kept);
    UPDATE atlas.subscription_queued q
    SET next_at = l.expires_at, progress = coalesce(c.progress, q.progress)
    FROM jsonb_to_recordset(extensions) AS c (lease uuid, progress text)
    JOIN atlas.subscription_leases l USING (lease)
    WHERE l.lease = ANY (kept) AND q.subscription = of AND q.stream = l.stream;
    RETURN QUERY SELECT l.lease, l.expires_at FROM atlas.subscription_leases l WHERE l.lease = ANY (kept);
END
$$;
-- +goose StatementEnd
