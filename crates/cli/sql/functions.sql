SELECT p.proname::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = pg_catalog.to_regnamespace('steep_repl') AND p.proname = $1
