-- +goose Up

-- What time it is is the database's to say: who may expire command ids could else say that all are old. The function that
-- is told the time runs as whoever calls it, and the application's role may not empty a table.
ALTER FUNCTION atlas.expire_commands(timestamptz) RENAME TO empty_commands;
ALTER FUNCTION atlas.empty_commands(timestamptz) SECURITY INVOKER RESET search_path;

-- +goose StatementBegin
CREATE FUNCTION atlas.expire_commands() RETURNS integer LANGUAGE sql VOLATILE AS $$
    SELECT atlas.empty_commands(clock_timestamp())
$$;
-- +goose StatementEnd
