SELECT pg_catalog.to_jsonb(pg_catalog.format('table %I.%I by %s', n.nspname, c.relname,
           CASE WHEN l.pid IS NULL THEN pg_catalog.format('prepared transaction %L', p.gid)
                ELSE pg_catalog.format('pid %s (%s)', l.pid, coalesce(nullif(a.application_name, ''), a.backend_type)) END))::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
JOIN pg_catalog.pg_locks l ON l.relation = r.value::oid AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
-- Locks of a prepared transaction belong to no process; the one on its own id tells which it is.
LEFT JOIN pg_catalog.pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
    AND x.virtualtransaction = l.virtualtransaction AND x.granted
LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", l.pid, p.gid COLLATE "C" LIMIT 10
