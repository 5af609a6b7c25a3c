SELECT pg_catalog.to_jsonb(pg_catalog.format('table %I.%I by pid %s (%s)', n.nspname, c.relname, l.pid,
                                             coalesce(nullif(a.application_name, ''), a.backend_type, 'prepared transaction')))::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
JOIN pg_catalog.pg_locks l ON l.relation = r.value::oid AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", l.pid LIMIT 10
