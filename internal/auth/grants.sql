GRANT INSERT, UPDATE, DELETE ON atlas.refresh_counters TO {app};
GRANT INSERT, UPDATE, DELETE ON atlas.api_key_uses TO {app};
