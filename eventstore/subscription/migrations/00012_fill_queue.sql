-- +goose Up

-- fill_queue as before, with its parameters named by its own name: a column of the slots is called turn by now.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION atlas.fill_queue(of text, turn bigint, starting bigint, ending bigint, streams jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE atlas.subscription_slots s
    SET position = fill_queue.ending, moved_at = clock_timestamp()
    WHERE s.subscription = fill_queue.of AND s.slot = 0 AND s.epoch = fill_queue.turn AND s.position = fill_queue.starting;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- In the order of their names, as answers lock them; handed out in the order of the log.
    INSERT INTO atlas.subscription_queued AS q (subscription, stream, position, version, seen, next_at)
    SELECT fill_queue.of, c.stream, c.position, c.version, c.seen,
        clock_timestamp() - interval '10 milliseconds' + row_number() OVER (ORDER BY c.position) * interval '1 microsecond'
    FROM jsonb_to_recordset(fill_queue.streams) AS c (stream text, position bigint, version bigint, seen bigint)
    ORDER BY c.stream COLLATE "C"
    ON CONFLICT (subscription, stream) DO UPDATE
    SET position = CASE WHEN q.seen < q.position THEN excluded.position ELSE q.position END,
        version = CASE WHEN q.seen < q.position THEN excluded.version ELSE q.version END,
        seen = excluded.seen;
    RETURN true;
END
$$;
-- +goose StatementEnd
