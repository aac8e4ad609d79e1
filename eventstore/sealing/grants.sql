-- Keys are made and destroyed, and their rows stay: a tombstone must not be lost.
GRANT INSERT, UPDATE ON atlas.subject_keys, atlas.server_secrets TO {app};
GRANT DELETE ON atlas.server_secrets TO {app}; -- a retired signing key's private part is destroyed
GRANT INSERT ON atlas.erasures TO {app};
