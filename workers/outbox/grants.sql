-- Messages are written, read and one day pruned; consumers keep their places.
GRANT USAGE ON SCHEMA outbox TO {app};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox TO {app};
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA outbox TO {app};
