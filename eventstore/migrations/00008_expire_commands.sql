-- +goose Up

-- Empties the table of commands whose turn comes next, and returns its number, or nothing where there is nothing to
-- do. What is in it then was written in the table's last turn, which ended forty days before its next one, so nothing in it is younger
-- than thirty days; the function looks before it acts all the same. Nobody writes to it meanwhile; those who look
-- commands up wait for as long as a TRUNCATE takes, and it gives up rather than make them wait for a lock it cannot get.
-- +goose StatementBegin
CREATE FUNCTION atlas.expire_commands(at timestamptz DEFAULT clock_timestamp()) RETURNS integer LANGUAGE plpgsql
    SET lock_timeout = '200ms' AS $$
DECLARE
    next_part CONSTANT integer := (atlas.command_part(at) + 1) % 5;
    part CONSTANT text := 'commands_' || next_part;
    youngest timestamptz;
BEGIN
    EXECUTE format('LOCK TABLE atlas.%I IN SHARE ROW EXCLUSIVE MODE', part);
    EXECUTE format('SELECT max(c.recorded_at) FROM atlas.%I c', part) INTO youngest;
    IF youngest IS NULL OR youngest > at - interval '30 days' THEN
        RETURN NULL;
    END IF;
    EXECUTE format('TRUNCATE atlas.%I', part);
    RETURN next_part;
END
$$;
-- +goose StatementEnd
