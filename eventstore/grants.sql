-- What the application's role may do with the log: read it, and write to it by functions alone. {app} is the role.
-- This runs after the migrations whenever the owner starts Atlas or runs `atlas migrate`: a function that a migration
-- replaces has lost its marks. It comes first, since it takes back what an earlier release may have given.
GRANT USAGE ON SCHEMA atlas TO {app};
REVOKE ALL ON ALL TABLES IN SCHEMA atlas FROM {app};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA atlas FROM {app};
GRANT SELECT ON ALL TABLES IN SCHEMA atlas TO {app};
GRANT SELECT ON ALL SEQUENCES IN SCHEMA atlas TO {app};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA atlas FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA atlas TO {app};

-- Functions that write or lock rows act as their owner, with names looked up where nobody else can put anything. The others act as
-- whoever calls them, and so can do nothing that is not granted here.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'atlas'::regnamespace AND p.proname ~ '^(append|lock_streams|ensure|expire)'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, atlas, pg_temp', f);
    END LOOP;
END
$$;
