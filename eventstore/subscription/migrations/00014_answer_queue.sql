-- +goose Up

-- Records what became of leased messages, each if its stream is still leased by this token, and says which answers count:
-- "lost" are those of a lease that is over. An answer that is there already counts again. The key lock on the slot keeps a
-- reset out until the end; streams are locked in the order of their names, and then all of them are moved at once.
--
-- [{lease, outcome, error, delay_ms}], each lease once. The outcome is done; delayed: again after a time, at the worker's
-- wish; failed: tried again after a time, unless that was the last try; parked: not to be tried again; lapsed: nobody
-- answered in time. A message that was parked and is tried once more leaves its stream where it is: it is done, or wanted
-- later and still to be tried before anything else of the stream, or parked again.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.answer_queue(of text, answers jsonb) RETURNS TABLE (token uuid, result text) LANGUAGE plpgsql AS $$
DECLARE
    counting uuid[];
    moment timestamptz;
BEGIN
    PERFORM FROM atlas.subscription_slots s WHERE s.subscription = of AND s.slot = 0 FOR KEY SHARE;
    SELECT array_agg(locked.lease) INTO counting
    FROM (
        SELECT l.lease
        FROM jsonb_to_recordset(answers) AS c (lease uuid)
        JOIN atlas.subscription_leases l ON l.lease = c.lease AND l.subscription = of AND l.answer IS NULL
        JOIN atlas.subscription_queued q ON q.subscription = of AND q.stream = l.stream AND q.lease = l.lease
        ORDER BY q.stream
        FOR UPDATE OF q
    ) locked;

    IF counting IS NOT NULL THEN
        moment := clock_timestamp();
        WITH judged AS MATERIALIZED (
            SELECT l.lease, l.stream, l.position, l.version, l.event, l.type, l.redo, c.outcome, coalesce(c.error, '') AS error, q.attempts,
                NOT l.redo AND (c.outcome = 'parked'
                    OR c.outcome IN ('failed', 'lapsed') AND k.attempts > 0 AND q.attempts + 1 >= k.attempts) AS parks,
                moment + interval '1 second' * CASE
                    WHEN c.delay_ms IS NOT NULL THEN c.delay_ms / 1000.0
                    WHEN c.outcome = 'lapsed' THEN 0
                    ELSE least(extract(epoch FROM k.retry_max), extract(epoch FROM k.retry_first) * power(2, least(q.attempts, 30)))
                        * (0.8 + 0.4 * random())
                END AS again
            FROM jsonb_to_recordset(answers) AS c (lease uuid, outcome text, error text, delay_ms bigint)
            JOIN atlas.subscription_leases l ON l.lease = c.lease
            JOIN atlas.subscription_queues k ON k.subscription = of
            JOIN atlas.subscription_queued q ON q.subscription = of AND q.stream = l.stream
            WHERE c.lease = ANY (counting)
        ), healed AS (
            DELETE FROM atlas.subscription_parked p
            USING judged j
            WHERE p.subscription = of AND p.position = j.position AND j.redo AND j.outcome = 'done'
        ), failed AS (
            UPDATE atlas.subscription_parked p
            SET attempts = p.attempts + 1, error = j.error, retry_at = NULL
            FROM judged j
            WHERE p.subscription = of AND p.position = j.position AND j.redo AND j.outcome NOT IN ('done', 'delayed')
        ), poison AS (
            INSERT INTO atlas.subscription_parked (subscription, position, slot, stream, version, event, type, attempts, error)
            SELECT of, j.position, 0, j.stream, j.version, j.event, j.type, j.attempts + 1, j.error
            FROM judged j
            WHERE j.parks
            ON CONFLICT (subscription, position) DO UPDATE
            SET attempts = excluded.attempts, error = excluded.error, retry_at = NULL
        ), noted AS (
            UPDATE atlas.subscription_leases l SET answer = j.outcome FROM judged j WHERE l.lease = j.lease
        ), passed AS (
            UPDATE atlas.subscription_queued q
            SET position = j.position + 1, version = j.version + 1, attempts = 0, error = '', progress = '',
                due_at = '-infinity', next_at = moment, lease = NULL
            FROM judged j
            WHERE q.subscription = of AND q.stream = j.stream AND NOT j.redo AND (j.parks OR j.outcome = 'done')
        ), retried AS (
            UPDATE atlas.subscription_queued q
            SET next_at = CASE WHEN j.outcome = 'delayed' THEN j.again ELSE greatest(moment, q.due_at) END, progress = '', lease = NULL
            FROM judged j
            WHERE q.subscription = of AND q.stream = j.stream AND j.redo
        )
        UPDATE atlas.subscription_queued q
        SET attempts = q.attempts + (j.outcome <> 'delayed')::integer, error = j.error, progress = '',
            due_at = j.again, next_at = j.again, lease = NULL
        FROM judged j
        WHERE q.subscription = of AND q.stream = j.stream AND NOT j.redo AND NOT j.parks AND j.outcome <> 'done';
        PERFORM atlas.leave_queue(of, ARRAY(SELECT l.stream FROM atlas.subscription_leases l WHERE l.lease = ANY (counting)));
    END IF;

    RETURN QUERY
    SELECT c.lease, CASE WHEN l.answer = c.outcome THEN 'counts' ELSE 'lost' END
    FROM jsonb_to_recordset(answers) AS c (lease uuid, outcome text)
    LEFT JOIN atlas.subscription_leases l ON l.lease = c.lease AND l.subscription = of;
END
$$;
-- +goose StatementEnd
