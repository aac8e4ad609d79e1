-- The relay is the application's: it takes topics and records how far it has come.
GRANT INSERT, UPDATE, DELETE ON atlas.relays TO {app};
