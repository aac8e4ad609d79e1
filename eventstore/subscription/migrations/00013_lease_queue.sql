-- +goose Up

-- Leases at most so many streams of a queue whose turn has come, each with a token of its own, and tells where their next
-- messages lie. A lease that was never answered counts as a failed try. NULL where there is no such queue, or it is not the
-- owner's; an operator has no owner.
--
-- The lease is for as long as a node may take to read the messages: hand_out_queue makes it as long as was asked for. So a
-- node that is killed before a message was out delays it by settling, however long the leases of the queue are.
--
-- {"replay_upto", "types", "streams": [{lease, stream, position, version, seen, attempts, undone, redo, redo_version, redo_attempts}]}
-- +goose StatementBegin
CREATE FUNCTION atlas.lease_queue(of text, whose uuid, most integer, settling interval) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    upto bigint;
    due text[];
    lapsed jsonb;
    taken jsonb;
    chosen text[];
BEGIN
    SELECT s.replay_upto, g.types INTO upto, chosen
    FROM atlas.subscription_slots s
    JOIN atlas.subscription_queues k ON k.subscription = s.subscription
    JOIN atlas.subscriptions g ON g.name = s.subscription
    WHERE s.subscription = of AND s.slot = 0 AND (whose IS NULL OR k.owner = whose)
    FOR KEY SHARE OF s;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    SELECT array_agg(q.stream),
        jsonb_agg(jsonb_build_object('lease', q.lease, 'outcome', 'lapsed', 'error', 'nobody answered before the lease ended'))
            FILTER (WHERE q.lease IS NOT NULL)
    INTO due, lapsed
    FROM (
        SELECT q.stream, q.lease
        FROM atlas.subscription_queued q
        WHERE q.subscription = of AND q.next_at <= moment
        ORDER BY q.next_at
        LIMIT most
        FOR UPDATE SKIP LOCKED
    ) q;
    IF lapsed IS NOT NULL THEN
        PERFORM FROM atlas.answer_queue(of, lapsed);
    END IF;
    -- A retry had a stream looked at early, and was withdrawn since.
    UPDATE atlas.subscription_queued q
    SET next_at = q.due_at, lease = NULL
    WHERE q.subscription = of AND q.stream = ANY (due) AND q.due_at > moment
        AND NOT EXISTS (
            SELECT FROM atlas.subscription_parked p
            WHERE p.subscription = of AND p.stream = q.stream AND p.retry_at IS NOT NULL
        );

    WITH mine AS (
        UPDATE atlas.subscription_queued q
        SET lease = gen_random_uuid(), next_at = clock_timestamp() + settling, progress = ''
        WHERE q.subscription = of AND q.stream = ANY (due) AND q.next_at <= clock_timestamp()
        RETURNING q.lease, q.stream, q.position, q.version, q.seen, q.attempts
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'lease', mine.lease, 'stream', mine.stream, 'position', mine.position, 'version', mine.version, 'seen', mine.seen,
        'attempts', mine.attempts, 'undone', u.position, 'redo', p.position, 'redo_version', p.version, 'redo_attempts', p.attempts
    ) ORDER BY coalesce(p.position, mine.position)), '[]') INTO taken
    FROM mine
    LEFT JOIN atlas.subscription_undone u ON u.subscription = of AND u.stream = mine.stream
    LEFT JOIN LATERAL (
        SELECT p.position, p.version, p.attempts
        FROM atlas.subscription_parked p
        WHERE p.subscription = of AND p.stream = mine.stream AND p.retry_at IS NOT NULL
        ORDER BY p.position
        LIMIT 1
    ) p ON true;
    RETURN jsonb_build_object('replay_upto', upto, 'types', chosen, 'streams', taken);
END
$$;
-- +goose StatementEnd
DROP FUNCTION atlas.lease_queue(text, integer, interval);

-- Records what leased streams turned out to hold, and returns the tokens of the messages that may be handed out, with the
-- ends of their leases, which begin now: those that were not taken back meanwhile.
--
-- [{lease, stream, past, position, version, event, type, redo}] are messages. Without an event none is there up to past, and
-- the stream is looked at again at once.
-- +goose StatementBegin
CREATE FUNCTION atlas.hand_out_queue(of text, outcomes jsonb, lasting interval) RETURNS TABLE (token uuid, until timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM atlas.subscription_slots s WHERE s.subscription = of AND s.slot = 0 FOR KEY SHARE;
    PERFORM FROM atlas.subscription_queued q
    WHERE q.subscription = of AND q.stream IN (SELECT c.stream FROM jsonb_to_recordset(outcomes) AS c (stream text))
    ORDER BY q.stream
    FOR UPDATE;
    UPDATE atlas.subscription_queued q
    SET lease = NULL, position = greatest(q.position, c.past + 1), next_at = clock_timestamp()
    FROM jsonb_to_recordset(outcomes) AS c (lease uuid, stream text, past bigint, event uuid)
    WHERE c.event IS NULL AND q.subscription = of AND q.stream = c.stream AND q.lease = c.lease;
    PERFORM atlas.leave_queue(of, ARRAY(
        SELECT c.stream FROM jsonb_to_recordset(outcomes) AS c (stream text, event uuid) WHERE c.event IS NULL));
    RETURN QUERY
    WITH out AS (
        UPDATE atlas.subscription_queued q
        SET next_at = clock_timestamp() + lasting
        FROM jsonb_to_recordset(outcomes) AS c (lease uuid, stream text, event uuid)
        WHERE c.event IS NOT NULL AND q.subscription = of AND q.stream = c.stream AND q.lease = c.lease
        RETURNING q.lease, q.next_at
    )
    INSERT INTO atlas.subscription_leases AS l (lease, subscription, stream, position, version, event, type, redo, expires_at)
    SELECT c.lease, of, c.stream, c.position, c.version, c.event, c.type, c.redo, out.next_at
    FROM out
    JOIN jsonb_to_recordset(outcomes)
        AS c (lease uuid, stream text, position bigint, version bigint, event uuid, type text, redo boolean) USING (lease)
    RETURNING l.lease, l.expires_at;
END
$$;
-- +goose StatementEnd
DROP FUNCTION atlas.hand_out_queue(text, jsonb);
