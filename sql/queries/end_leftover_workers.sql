SELECT pg_catalog.to_jsonb(a.pid)::text
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database()
  AND a.backend_type IN ('steep_repl copy worker', 'steep_repl snapshot keeper')
  AND pg_catalog.starts_with(a.application_name, $1 || '_')
  AND pg_catalog.pg_terminate_backend(a.pid, 10000)
