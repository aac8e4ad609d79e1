-- +goose Up

-- Takes the log into a queue, from the position where its slot stands up to another one, and says whether that counted:
-- another node may have done so before, or the queue was reset. The slot's row is locked by the UPDATE, so one at a time
-- fills; who leases and answers does not wait for it, since FOR KEY SHARE and this lock go together.
--
-- [{stream, position, version, seen}]: the first and the last of the stream's events that were read.
-- +goose StatementBegin
CREATE FUNCTION atlas.fill_queue(of text, turn bigint, starting bigint, ending bigint, streams jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE atlas.subscription_slots s
    SET position = ending, moved_at = clock_timestamp()
    WHERE s.subscription = of AND s.slot = 0 AND s.epoch = turn AND s.position = starting;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- In the order of their names, as answers lock them; handed out in the order of the log.
    INSERT INTO atlas.subscription_queued AS q (subscription, stream, position, version, seen, next_at)
    SELECT of, c.stream, c.position, c.version, c.seen,
        clock_timestamp() - interval '10 milliseconds' + row_number() OVER (ORDER BY c.position) * interval '1 microsecond'
    FROM jsonb_to_recordset(streams) AS c (stream text, position bigint, version bigint, seen bigint)
    ORDER BY c.stream COLLATE "C"
    ON CONFLICT (subscription, stream) DO UPDATE
    SET position = CASE WHEN q.seen < q.position THEN excluded.position ELSE q.position END,
        version = CASE WHEN q.seen < q.position THEN excluded.version ELSE q.version END,
        seen = excluded.seen;
    RETURN true;
END
$$;
-- +goose StatementEnd
