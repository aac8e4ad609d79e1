-- +goose Up

-- Brings the streams of a queue in line with what is parked: those with a message that is to be tried again are looked at
-- at once, and those that have nothing to come any more go. The caller has locked the slot. Of another group there is
-- nothing to do: its members look for themselves.
-- +goose StatementBegin
CREATE FUNCTION atlas.retry_queue(of text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM atlas.subscription_queues k WHERE k.subscription = of) THEN
        RETURN;
    END IF;
    INSERT INTO atlas.subscription_queued AS q (subscription, stream, position, version, seen, next_at)
    SELECT of, p.stream, 1, 1, 0, clock_timestamp()
    FROM atlas.subscription_parked p
    WHERE p.subscription = of AND p.retry_at IS NOT NULL
    GROUP BY p.stream
    ORDER BY p.stream
    ON CONFLICT (subscription, stream) DO UPDATE
    SET next_at = CASE WHEN q.lease IS NULL THEN least(q.next_at, clock_timestamp()) ELSE q.next_at END;
    PERFORM atlas.leave_queue(of, ARRAY(
        SELECT q.stream FROM atlas.subscription_queued q WHERE q.subscription = of AND q.seen < q.position AND q.lease IS NULL));
END
$$;
-- +goose StatementEnd
