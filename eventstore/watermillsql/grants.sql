-- Groups keep their places. To read the log as another role than {app}, give it these two, and what eventstore's grants give.
GRANT SELECT, INSERT, UPDATE, DELETE ON atlas.log_readers TO {app};
GRANT EXECUTE ON FUNCTION atlas.read_topic(text, text, text, text, integer) TO {app};
