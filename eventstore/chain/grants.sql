-- The application's role seals by these alone.
ALTER FUNCTION atlas.start_chain SECURITY DEFINER SET search_path = pg_catalog, atlas, pg_temp;
ALTER FUNCTION atlas.seal_block SECURITY DEFINER SET search_path = pg_catalog, atlas, pg_temp;
