-- What is there: the extension's version, and the node that this database is.
SELECT (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'steep_repl') AS extension_version,
       pg_catalog.current_database()::text AS database, pg_catalog.current_setting('server_version_num')::int AS server_version_num,
       EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = 'steep_repl') AS is_available
