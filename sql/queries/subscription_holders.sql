-- Who else holds a subscription, or the catalogs that subscriptions stand in, so that it cannot be changed. One that is being made has no OID yet.
SELECT pg_catalog.to_jsonb(pg_catalog.format('%s by %s',
           CASE WHEN l.locktype = 'object' THEN pg_catalog.format('subscription %I', s.subname) ELSE pg_catalog.format('catalog %I', c.relname) END,
           CASE WHEN l.pid IS NULL THEN pg_catalog.format('prepared transaction %L', p.gid)
                ELSE pg_catalog.format('pid %s (%s)', l.pid, coalesce(nullif(a.application_name, ''), a.backend_type)) END))::text
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_subscription s ON l.locktype = 'object' AND s.oid = l.objid
LEFT JOIN pg_catalog.pg_class c ON l.locktype = 'relation' AND c.oid = l.relation
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
-- Locks of a prepared transaction belong to no process; the one on its own id tells which it is.
LEFT JOIN pg_catalog.pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
    AND x.virtualtransaction = l.virtualtransaction AND x.granted
LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND (l.locktype = 'object' AND l.classid = 'pg_catalog.pg_subscription'::regclass AND l.objid = $1::oid
       -- Whoever reads or writes a row there is in nobody's way.
       OR l.locktype = 'relation' AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
          AND l.relation IN ('pg_catalog.pg_subscription'::regclass, 'pg_catalog.pg_subscription_rel'::regclass)
          AND l.database IN ('0'::oid, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())))
ORDER BY l.pid, p.gid COLLATE "C" LIMIT 10
