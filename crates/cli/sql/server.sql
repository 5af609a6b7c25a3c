-- Whether the extension is there, and which.
SELECT (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'steep_repl') AS extension_version,
       EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = 'steep_repl') AS is_available
