GRANT INSERT, UPDATE, DELETE ON atlas.sign_in_failures TO {app};
