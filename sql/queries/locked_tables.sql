-- Tables that somebody else has locked against all others, as (schema, name). Runs on either node.
-- Who has prepared a transaction is nobody (pid is null) and has it locked all the same.
SELECT DISTINCT pg_catalog.jsonb_build_array(n.nspname, c.relname)::text
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND c.relkind IN ('r', 'p')
