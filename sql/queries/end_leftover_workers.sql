-- Materialized, so that no process is ended that was not found by the conditions first.
WITH leftover AS MATERIALIZED (
    SELECT a.pid
    FROM pg_catalog.pg_stat_activity a
    WHERE a.datname = pg_catalog.current_database()
      AND a.backend_type IN ('steep_repl copy worker', 'steep_repl snapshot keeper')
      AND pg_catalog.starts_with(a.application_name, $1 || '_')
)
SELECT pg_catalog.jsonb_build_object('pid', l.pid, 'gone', pg_catalog.pg_terminate_backend(l.pid, 10000))::text FROM leftover l
