GRANT INSERT, UPDATE, DELETE ON atlas.refresh_counters TO {app};
