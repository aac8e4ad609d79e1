GRANT INSERT, UPDATE, DELETE ON atlas.projections, atlas.projection_nodes, atlas.projection_parked, atlas.projection_held,
    atlas.projection_jobs
    TO {app};

-- The read tables are the application's own: it makes them when it starts, for versions that only it knows, and they
-- can all be built anew from the log, so there is nothing to guard. Tables that the owner made before there was an
-- application's role are handed over, which needs an owner that is a superuser or a member of that role.
GRANT USAGE, CREATE ON SCHEMA read TO {app};
DO $$
DECLARE
    r regclass;
BEGIN
    FOR r IN
        SELECT c.oid FROM pg_class c
        WHERE c.relnamespace = 'read'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relowner <> '{app}'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {app}', r);
    END LOOP;
END
$$;
